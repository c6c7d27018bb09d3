# The corpus of the dynamics study: fetched, cleaned, cut into chunks.


rule fetch_enwik8:
    input:
        files=dynamics.corpus_files(),
        origins=dynamics.corpus_origins(),
    output:
        raw=results("corpora/{corpus}/raw"),
        listing=results("corpora/{corpus}/raw.parquet"),
    log:
        results("logs/fetch_enwik8/{corpus}.log"),
    benchmark:
        results("timings/fetch_enwik8/{corpus}.tsv")
    priority: 5
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(60),
        cache_dir=study.config["cache_dir"],
    params:
        path=lambda wildcards: dynamics.corpus_path,
        file_states=lambda wildcards: file_states(dynamics.corpus_files()),
        code=code("fetch_enwik8"),
    message:
        "Fetching the corpus {wildcards.corpus}."
    script:
        "../scripts/fetch_enwik8.py"


rule clean_enwik8:
    input:
        raw=results("corpora/{corpus}/raw"),
        origins=[results("corpora/{corpus}/raw.parquet")],
    output:
        clean=results("corpora/{corpus}/clean.txt"),
        statistics=results("corpora/{corpus}/statistics.parquet"),
    log:
        results("logs/clean_enwik8/{corpus}.log"),
    benchmark:
        results("timings/clean_enwik8/{corpus}.tsv")
    priority: 5
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=2),
        runtime=plan.minutes(30),
    params:
        code=code("clean_enwik8"),
    message:
        "Cleaning {wildcards.corpus} to plain text."
    script:
        "../scripts/clean_enwik8.py"


rule sample_chunks:
    input:
        clean=results("corpora/{corpus}/clean.txt"),
        statistics=results("corpora/{corpus}/statistics.parquet"),
        tokenizer=dynamics.counting_files(),
    output:
        chunks=results("corpora/{corpus}/chunks.parquet"),
    log:
        results("logs/sample_chunks/{corpus}.log"),
    benchmark:
        results("timings/sample_chunks/{corpus}.tsv")
    priority: 5
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=8),
        runtime=plan.minutes(5),
    params:
        chunk_characters=None if dynamics.chunk_tokens else dynamics.setting("chunk_characters"),
        chunk_tokens=dynamics.chunk_tokens,
        n_chunks=dynamics.setting("n_chunks"),
        seed=dynamics.setting("seed"),
        code=code("sample_chunks"),
    message:
        "Sampling chunks of {wildcards.corpus}."
    script:
        "../scripts/sample_chunks.py"
