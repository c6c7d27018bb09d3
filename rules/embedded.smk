# The embedded default: text, collection and models that the pipeline makes itself, offline. What leads to training goes
# first: it is the longest way through the graph.


rule extract_prose:
    output:
        prose=results("embedded/prose.parquet"),
    log:
        results("logs/extract_prose.log"),
    benchmark:
        results("timings/extract_prose.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("extract_prose"),
    message:
        "Reading the standard library's English prose."
    script:
        "../scripts/extract_prose.py"


rule make_dump:
    input:
        prose=results("embedded/prose.parquet"),
    output:
        dump=results("embedded/dump.xml"),
        listing=results("embedded/dump.parquet"),
    log:
        results("logs/make_dump.log"),
    benchmark:
        results("timings/make_dump.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("make_dump"),
    message:
        "Writing the prose as a wiki dump."
    script:
        "../scripts/make_dump.py"


rule make_collection:
    input:
        prose=results("embedded/prose.parquet"),
    output:
        corpus=results("embedded/collection/corpus.jsonl"),
        queries=results("embedded/collection/queries.jsonl"),
        judgements=results("embedded/collection/qrels/test.tsv"),
        listing=results("embedded/collection/listing.parquet"),
    log:
        results("logs/make_collection.log"),
    benchmark:
        results("timings/make_collection.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("make_collection"),
    message:
        "Making a judged collection of docstrings and their summary lines."
    script:
        "../scripts/make_collection.py"


rule train_tokenizer:
    input:
        prose=results("embedded/prose.parquet"),
    output:
        tokenizer=results("embedded/tokenizers/{recipe}/tokenizer.json"),
        tokenizer_config=results("embedded/tokenizers/{recipe}/tokenizer_config.json"),
        listing=results("embedded/tokenizers/{recipe}/listing.parquet"),
    log:
        results("logs/train_tokenizer/{recipe}.log"),
    benchmark:
        results("timings/train_tokenizer/{recipe}.tsv")
    priority: 10
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.TORCH_MB),
        runtime=plan.minutes(5),
    params:
        recipe="{recipe}",
        code=code("train_tokenizer"),
    message:
        "Training the {wildcards.recipe} tokenizer on the prose."
    script:
        "../scripts/train_tokenizer.py"


rule tokenize_prose:
    input:
        prose=results("embedded/prose.parquet"),
        tokenizer=results("embedded/tokenizers/{recipe}/tokenizer.json"),
        tokenizer_listing=results("embedded/tokenizers/{recipe}/listing.parquet"),
    output:
        tokens=results("embedded/tokens/{recipe}.parquet"),
    log:
        results("logs/tokenize_prose/{recipe}.log"),
    benchmark:
        results("timings/tokenize_prose/{recipe}.tsv")
    priority: 10
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("tokenize_prose"),
    message:
        "Tokenizing the prose for the {wildcards.recipe} models."
    script:
        "../scripts/tokenize_prose.py"


rule train_model:
    input:
        tokens=lambda wildcards: results(f"embedded/tokens/{RECIPES[wildcards.embedded].tokenizer}.parquet"),
        tokenizer=lambda wildcards: results(
            f"embedded/tokenizers/{RECIPES[wildcards.embedded].tokenizer}/tokenizer.json"
        ),
        tokenizer_config=lambda wildcards: results(
            f"embedded/tokenizers/{RECIPES[wildcards.embedded].tokenizer}/tokenizer_config.json"
        ),
    output:
        folder=directory(results("embedded/models/{embedded}")),
        manifest=results("embedded/manifests/{embedded}.parquet"),
        curve=results("embedded/training/{embedded}.parquet"),
    log:
        results("logs/train_model/{embedded}.log"),
    benchmark:
        results("timings/train_model/{embedded}.tsv")
    priority: 10
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.TORCH_MB),
        runtime=plan.minutes(15),
    params:
        model="{embedded}",
        code=code("train_model"),
    message:
        "Training {wildcards.embedded} on the prose."
    script:
        "../scripts/train_model.py"


rule check_training:
    input:
        curves=expand(results("embedded/training/{embedded}.parquet"), embedded=study.embedded_models),
    output:
        learned=results("embedded/learned.parquet"),
    log:
        results("logs/check_training.log"),
    benchmark:
        results("timings/check_training.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("check_training"),
    message:
        "Checking that the embedded models learned."
    script:
        "../scripts/check_training.py"
