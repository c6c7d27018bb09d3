"""Running text: fetching a corpus, cleaning it to prose, cutting it into chunks. No tokenizer and no model in here."""
