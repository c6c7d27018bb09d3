# From a model's source to what the studies read: a listing, a tokenizer, an embedding table, a whole checkpoint.


rule resolve_model:
    input:
        files=lambda wildcards: models.files(wildcards.model, wildcards.revision),
        origins=lambda wildcards: models.origins(wildcards.model),
    output:
        listing=results("models/{model}/{revision}/listing.parquet"),
    log:
        results("logs/resolve_model/{model}/{revision}.log"),
    benchmark:
        results("timings/resolve_model/{model}/{revision}.tsv")
    priority: 5
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        code=code("resolve_model"),
    message:
        "Listing the files of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/resolve_model.py"


rule fetch_tokenizer:
    input:
        files=lambda wildcards: models.tokenizer_files(wildcards.tokenizer),
    output:
        tokenizer=results("tokenizers/{tokenizer}/tokenizer.json"),
        tokenizer_config=results("tokenizers/{tokenizer}/tokenizer_config.json"),
    log:
        results("logs/fetch_tokenizer/{tokenizer}.log"),
    benchmark:
        results("timings/fetch_tokenizer/{tokenizer}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.TORCH_MB),
        runtime=plan.minutes(5),
    params:
        source=lambda wildcards: models.tokenizer_source(wildcards.tokenizer),
        revision=lambda wildcards: models.tokenizer_revision(wildcards.tokenizer),
        cache_dir=study.config["cache_dir"],
        code=code("fetch_tokenizer"),
    message:
        "Fetching the tokenizer {wildcards.tokenizer}."
    script:
        "../scripts/fetch_tokenizer.py"


rule extract_embedding_table:
    input:
        listing=results("models/{model}/{revision}/listing.parquet"),
        tokenizer=lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/tokenizer.json"),
    output:
        table=results("models/{model}/{revision}/embedding_table.parquet"),
    log:
        results("logs/extract_embedding_table/{model}/{revision}.log"),
    benchmark:
        results("timings/extract_embedding_table/{model}/{revision}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=lambda wildcards, input: plan.extraction_memory_mb(input.listing),
        runtime=plan.minutes(30),
    params:
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        cache_dir=study.config["cache_dir"],
        code=code("extract_embedding_table"),
    message:
        "Extracting the embedding table of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/extract_embedding_table.py"


rule fetch_checkpoint:
    input:
        listing=results("models/{model}/{revision}/listing.parquet"),
    output:
        checkpoint=results("models/{model}/{revision}/checkpoint.parquet"),
    log:
        results("logs/fetch_checkpoint/{model}/{revision}.log"),
    benchmark:
        results("timings/fetch_checkpoint/{model}/{revision}.tsv")
    priority: 5
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(240),
    params:
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        cache_dir=study.config["cache_dir"],
        code=code("fetch_checkpoint"),
    message:
        "Fetching the checkpoint of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/fetch_checkpoint.py"
