# The embedding study's scores: a collection as token counts, pooled with each table, scored in every variant.


rule fetch_collection:
    input:
        files=scaling.collection_files(),
        origins=scaling.collection_origins(),
    output:
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        judgements=results("collections/{collection}/judgements.parquet"),
    log:
        results("logs/fetch_collection/{collection}.log"),
    benchmark:
        results("timings/fetch_collection/{collection}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB if scaling.collection_path else plan.MTEB_MB),
        runtime=plan.minutes(30),
    params:
        collection="{collection}",
        path=lambda wildcards: scaling.collection_path,
        lowercase=scaling.lowercase,
        file_states=lambda wildcards: file_states(scaling.collection_files()),
        code=code("fetch_collection"),
    message:
        "Fetching the collection {wildcards.collection}."
    script:
        "../scripts/fetch_collection.py"


rule tokenize_collection:
    input:
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        tokenizer=results("tokenizers/{tokenizer}/tokenizer.json"),
        tokenizer_listing=results("tokenizers/{tokenizer}/listing.parquet"),
    output:
        counts=results("collections/{collection}/token_counts/{tokenizer}.parquet"),
    log:
        results("logs/tokenize_collection/{collection}/{tokenizer}.log"),
    benchmark:
        results("timings/tokenize_collection/{collection}/{tokenizer}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=20),
        runtime=plan.minutes(10),
    params:
        max_length=scaling.setting("max_length"),
        code=code("tokenize_collection"),
    message:
        "Tokenizing {wildcards.collection} with {wildcards.tokenizer}."
    script:
        "../scripts/tokenize_collection.py"


rule pool_collection:
    input:
        counts=lambda wildcards: results(
            f"collections/{wildcards.collection}/token_counts/{models.tokenizer(wildcards.model)}.parquet"
        ),
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        table=results("models/{model}/{revision}/embedding_table.parquet"),
    output:
        pooled=results("retrieval/{collection}/pooled/{model}/{revision}.parquet"),
    log:
        results("logs/pool_collection/{collection}/{model}/{revision}.log"),
    benchmark:
        results("timings/pool_collection/{collection}/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.pooling_mb(
            [input.corpus, input.queries], input.counts, input.table, attempt=attempt
        ),
        disk_mb=lambda wildcards, input: plan.pooling_disk_mb([input.corpus, input.queries], input.table),
        runtime=lambda wildcards, input, attempt: plan.pooling_minutes(
            [input.corpus, input.queries], input.counts, input.table, attempt=attempt
        ),
    params:
        table_precision=scaling.setting("table_precision"),
        code=code("pool_collection"),
    message:
        "Pooling {wildcards.collection} with the table of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/pool_collection.py"


rule find_principal_components:
    input:
        table=results("models/{model}/{revision}/embedding_table.parquet"),
    output:
        components=results("models/{model}/{revision}/principal_components.parquet"),
    log:
        results("logs/find_principal_components/{model}/{revision}.log"),
    benchmark:
        results("timings/find_principal_components/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.components_mb(input.table, attempt=attempt),
        runtime=lambda wildcards, input, attempt: plan.components_minutes(input.table, attempt=attempt),
    params:
        table_precision=scaling.setting("table_precision"),
        code=code("find_principal_components"),
    message:
        "Finding the mean and the leading directions of the table of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/find_principal_components.py"


rule score_variants:
    input:
        pooled=results("retrieval/{collection}/pooled/{model}/{revision}.parquet"),
        counts=lambda wildcards: results(
            f"collections/{wildcards.collection}/token_counts/{models.tokenizer(wildcards.model)}.parquet"
        ),
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        judgements=results("collections/{collection}/judgements.parquet"),
        components=lambda wildcards: (
            [results("models/{model}/{revision}/principal_components.parquet")]
            if scaling.uses_components(run_of(wildcards))
            else []
        ),
    output:
        scores=results("retrieval/{collection}/variants/{model}/{revision}/scores.parquet"),
        query_scores=results("retrieval/{collection}/variants/{model}/{revision}/query_scores.parquet"),
    log:
        results("logs/score_variants/{collection}/{model}/{revision}.log"),
    benchmark:
        results("timings/score_variants/{collection}/{model}/{revision}.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.scoring_mb(
            [input.corpus, input.queries], input.counts, input.pooled, attempt=attempt
        ),
        runtime=lambda wildcards, input, attempt: plan.scoring_minutes(
            [input.corpus, input.queries], input.pooled, scaling.variants_of(run_of(wildcards)), attempt=attempt
        ),
    params:
        model="{model}",
        suite=lambda wildcards: models.suite(wildcards.model),
        revision="{revision}",
        tokenizer_name=lambda wildcards: models.tokenizer_label(wildcards.model),
        collection="{collection}",
        variants=lambda wildcards: scaling.variants_of(run_of(wildcards)),
        table_precision=scaling.setting("table_precision"),
        ignore_identical_ids=scaling.setting("ignore_identical_ids"),
        code=code("score_variants"),
    message:
        "Scoring the table of {wildcards.model} at {wildcards.revision} on {wildcards.collection}."
    script:
        "../scripts/score_variants.py"


# All models of a tokenizer in one job: they share the random tables, and one pass over the columns of each.
rule score_random_columns:
    input:
        pooled=lambda wildcards: [
            results(f"retrieval/{wildcards.collection}/pooled/{run.model}/{run.revision}.parquet")
            for run in scaling.runs_of_tokenizer(wildcards.tokenizer)
        ],
        counts=results("collections/{collection}/token_counts/{tokenizer}.parquet"),
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        judgements=results("collections/{collection}/judgements.parquet"),
    output:
        scores=results("retrieval/{collection}/random_columns/{tokenizer}/scores.parquet"),
        query_scores=results("retrieval/{collection}/random_columns/{tokenizer}/query_scores.parquet"),
    log:
        results("logs/score_random_columns/{collection}/{tokenizer}.log"),
    benchmark:
        results("timings/score_random_columns/{collection}/{tokenizer}.tsv")
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.random_columns_mb(
            [input.corpus, input.queries],
            input.counts,
            input.pooled,
            scaling.random_variants,
            scaling.setting("random_generator"),
            attempt=attempt,
        ),
        disk_mb=lambda wildcards, input: plan.random_columns_disk_mb([input.corpus, input.queries], input.pooled),
        runtime=lambda wildcards, input, attempt: plan.random_columns_minutes(
            [input.corpus, input.queries],
            input.counts,
            input.pooled,
            scaling.random_variants,
            len(scaling.setting("random_seeds")),
            attempt=attempt,
        ),
    params:
        runs=lambda wildcards: study.run_names(scaling.runs_of_tokenizer(wildcards.tokenizer)),
        tokenizer_name=lambda wildcards: models.tokenizer_label_of(wildcards.tokenizer),
        collection="{collection}",
        variants=scaling.random_variants,
        random_seeds=scaling.setting("random_seeds"),
        table_precision=scaling.setting("table_precision"),
        random_generator=scaling.setting("random_generator"),
        ignore_identical_ids=scaling.setting("ignore_identical_ids"),
        code=code("score_random_columns"),
    message:
        "Scoring random columns beside the tables with the tokenizer {wildcards.tokenizer} on {wildcards.collection}."
    script:
        "../scripts/score_random_columns.py"


rule score_random_tokenizer:
    input:
        counts=results("collections/{collection}/token_counts/{tokenizer}.parquet"),
        corpus=results("collections/{collection}/corpus.parquet"),
        queries=results("collections/{collection}/queries.parquet"),
        judgements=results("collections/{collection}/judgements.parquet"),
        tokenizer=results("tokenizers/{tokenizer}/tokenizer.json"),
    output:
        scores=results("retrieval/{collection}/random_tokenizer/{tokenizer}/scores.parquet"),
        query_scores=results("retrieval/{collection}/random_tokenizer/{tokenizer}/query_scores.parquet"),
    log:
        results("logs/score_random_tokenizer/{collection}/{tokenizer}.log"),
    benchmark:
        results("timings/score_random_tokenizer/{collection}/{tokenizer}.tsv")
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.random_scoring_mb(
            [input.corpus, input.queries],
            input.counts,
            scaling.random_setting("widths"),
            scaling.setting("random_generator"),
            attempt=attempt,
        ),
        runtime=lambda wildcards, input, attempt: plan.random_scoring_minutes(
            [input.corpus, input.queries],
            input.counts,
            scaling.random_setting("widths"),
            len(scaling.random_setting("seeds")),
            attempt=attempt,
        ),
    params:
        tokenizer_name=lambda wildcards: models.tokenizer_label_of(wildcards.tokenizer),
        collection="{collection}",
        widths=scaling.random_setting("widths"),
        random_seeds=scaling.random_setting("seeds"),
        vocab_rows=lambda wildcards: scaling.random_vocab_rows(wildcards.tokenizer),
        table_precision=scaling.setting("table_precision"),
        random_generator=scaling.setting("random_generator"),
        ignore_identical_ids=scaling.setting("ignore_identical_ids"),
        code=code("score_random_tokenizer"),
    message:
        "Scoring random tables for the tokenizer {wildcards.tokenizer} on {wildcards.collection}."
    script:
        "../scripts/score_random_tokenizer.py"


rule collect_retrieval_scores:
    input:
        scores=[*scaling.model_files("scores"), *scaling.baseline_files("scores")],
    output:
        table=results("tables/retrieval_scores.parquet"),
        csv=results("tables/retrieval_scores.csv"),
    log:
        results("logs/collect_retrieval_scores.log"),
    benchmark:
        results("timings/collect_retrieval_scores.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("collect_retrieval_scores"),
    message:
        "Collecting the retrieval scores."
    script:
        "../scripts/collect_retrieval_scores.py"


rule write_mteb_results:
    input:
        scores=results("tables/retrieval_scores.parquet"),
    output:
        folder=directory(results("mteb")),
        manifest=results("tables/mteb_results.parquet"),
    log:
        results("logs/write_mteb_results.log"),
    benchmark:
        results("timings/write_mteb_results.tsv")
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.MTEB_MB),
        runtime=plan.minutes(10),
    params:
        collection=scaling.collection,
        code=code("write_mteb_results"),
    message:
        "Writing the scores as MTEB result files."
    script:
        "../scripts/write_mteb_results.py"
