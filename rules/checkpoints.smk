# From a model's listing to what the studies read: a tokenizer, an embedding table, a whole checkpoint.


rule fetch_tokenizer:
    input:
        files=lambda wildcards: models.tokenizer_files(wildcards.tokenizer),
        origins=lambda wildcards: models.tokenizer_origins(wildcards.tokenizer),
    output:
        tokenizer=results("tokenizers/{tokenizer}/tokenizer.json"),
        tokenizer_config=results("tokenizers/{tokenizer}/tokenizer_config.json"),
        listing=results("tokenizers/{tokenizer}/listing.parquet"),
    log:
        results("logs/fetch_tokenizer/{tokenizer}.log"),
    benchmark:
        results("timings/fetch_tokenizer/{tokenizer}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.TORCH_MB),
        runtime=plan.minutes(5),
        cache_dir=study.config["cache_dir"],
    params:
        source=lambda wildcards: models.tokenizer_source(wildcards.tokenizer),
        revision=lambda wildcards: models.tokenizer_revision(wildcards.tokenizer),
        file_states=lambda wildcards: file_states(models.tokenizer_files(wildcards.tokenizer)),
        code=code("fetch_tokenizer"),
    message:
        "Fetching the tokenizer {wildcards.tokenizer}."
    script:
        "../scripts/fetch_tokenizer.py"


rule extract_embedding_table:
    input:
        listing=results("models/{model}/{revision}/listing.parquet"),
        config=results("models/{model}/{revision}/config.json"),
        tokenizer=lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/tokenizer.json"),
        tokenizer_listing=lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/listing.parquet"),
    output:
        table=results("models/{model}/{revision}/embedding_table.parquet"),
    log:
        results("logs/extract_embedding_table/{model}/{revision}.log"),
    benchmark:
        results("timings/extract_embedding_table/{model}/{revision}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.extraction_mb(input.listing, input.config, attempt=attempt),
        disk_mb=lambda wildcards, input: plan.extraction_disk_mb(
            input.listing, input.config, models.source(wildcards.model), study.config["verify"]
        ),
        runtime=lambda wildcards, input, attempt: plan.extraction_minutes(
            input.listing, input.config, models.source(wildcards.model), study.config["verify"], attempt=attempt
        ),
        cache_dir=study.config["cache_dir"],
    params:
        model="{model}",
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        verify=study.config["verify"],
        embedding_tensor=lambda wildcards: models.setting(wildcards.model, "embedding_tensor"),
        code=code("extract_embedding_table"),
    message:
        "Extracting the embedding table of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/extract_embedding_table.py"


rule fetch_checkpoint:
    input:
        listing=results("models/{model}/{revision}/listing.parquet"),
        config=results("models/{model}/{revision}/config.json"),
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
        disk_mb=lambda wildcards, input: plan.fetch_disk_mb(input.listing, input.config, models.source(wildcards.model)),
        runtime=lambda wildcards, input, attempt: plan.fetch_minutes(
            input.listing, input.config, models.source(wildcards.model), attempt=attempt
        ),
        cache_dir=study.config["cache_dir"],
        keep_checkpoint=int(study.config["keep_checkpoints"]),
    params:
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        trust_remote_code=lambda wildcards: models.setting(wildcards.model, "trust_remote_code"),
        code=code("fetch_checkpoint"),
    message:
        "Fetching the checkpoint of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/fetch_checkpoint.py"
