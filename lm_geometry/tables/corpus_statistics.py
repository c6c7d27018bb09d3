"""What the cleaning of a corpus found: one row per corpus."""

import pyarrow as pa

from lm_geometry.tables.schema import column

MEDIAWIKI_XML = "mediawiki_xml"
PLAIN_TEXT = "plain_text"

SCHEMA = pa.schema(
    [
        column("format", pa.string(), "'mediawiki_xml' or 'plain_text': what the raw file was taken for"),
        column("raw_bytes", pa.int64(), "size of the raw file", unit="bytes"),
        column("distinct_bytes", pa.int32(), "distinct byte values of the raw file; 205 for enwik8"),
        column("pages", pa.int64(), "pages of the cleaned corpus", unit="pages"),
        column("redirects", pa.int64(), "pages left out because they only point to another", unit="pages"),
        column("empty_pages", pa.int64(), "pages left out because no prose was left", unit="pages"),
        column("unparsed_pages", pa.int64(), "pages kept with their markup: the parser gave up", unit="pages"),
        column("unfinished_pages", pa.int64(), "pages left out because the dump ends inside them", unit="pages"),
        column("characters", pa.int64(), "length of the cleaned pages together", unit="characters"),
        column("alphabet_size", pa.int32(), "distinct characters of the cleaned pages", unit="characters"),
        column("corpus_sha256", pa.string(), "digest of the raw file"),
    ]
)
