# The embedding study without a collection: what the tables are like, and how they settle over training.


rule measure_embedding_table:
    input:
        table=results("models/{model}/{revision}/embedding_table.parquet"),
    output:
        measures=results("embedding_geometry/{model}/{revision}.parquet"),
    log:
        results("logs/measure_embedding_table/{model}/{revision}.log"),
    benchmark:
        results("timings/measure_embedding_table/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.table_geometry_mb(
            input.table,
            scaling.geometry_setting("n_batches"),
            scaling.geometry_setting("batch_size"),
            attempt=attempt,
        ),
        runtime=lambda wildcards, input, attempt: plan.table_geometry_minutes(
            input.table,
            scaling.geometry_setting("n_batches"),
            scaling.geometry_setting("batch_size"),
            attempt=attempt,
        ),
    params:
        table_precision=scaling.setting("table_precision"),
        n_batches=scaling.geometry_setting("n_batches"),
        batch_size=scaling.geometry_setting("batch_size"),
        seed=scaling.geometry_setting("seed"),
        code=code("measure_embedding_table"),
    message:
        "Measuring the embedding table of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/measure_embedding_table.py"


rule collect_embedding_geometry:
    input:
        measures=[results(f"embedding_geometry/{run.model}/{run.revision}.parquet") for run in scaling.runs],
    output:
        table=results("tables/embedding_geometry.parquet"),
        csv=results("tables/embedding_geometry.csv"),
    log:
        results("logs/collect_embedding_geometry.log"),
    benchmark:
        results("timings/collect_embedding_geometry.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=study.run_names(scaling.runs),
        code=code("collect_embedding_geometry"),
    message:
        "Collecting the geometry of all embedding tables."
    script:
        "../scripts/collect_embedding_geometry.py"


rule compare_embedding_tables:
    input:
        table=results("models/{model}/{revision}/embedding_table.parquet"),
        final_table=lambda wildcards: table_of(models.main_run(wildcards.model)),
    output:
        statistics=results("embedding_training/{model}/{revision}.parquet"),
    log:
        results("logs/compare_embedding_tables/{model}/{revision}.log"),
    benchmark:
        results("timings/compare_embedding_tables/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.table_comparison_mb(input.table, attempt=attempt),
        runtime=lambda wildcards, input, attempt: plan.table_comparison_minutes(input.table, attempt=attempt),
    params:
        table_precision=scaling.setting("table_precision"),
        code=code("compare_embedding_tables"),
    message:
        "Comparing the embedding table of {wildcards.model} at {wildcards.revision} with the final one."
    script:
        "../scripts/compare_embedding_tables.py"


rule collect_embedding_training:
    input:
        statistics=[results(f"embedding_training/{run.model}/{run.revision}.parquet") for run in scaling.training_runs],
        scores=scaling.run_files(scaling.training_runs, "scores"),
        query_scores=scaling.run_files(scaling.training_runs, "query_scores"),
        final_query_scores=scaling.run_files(
            [models.main_run(run.model) for run in scaling.training_runs], "query_scores"
        ),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        table=results("tables/embedding_training.parquet"),
        csv=results("tables/embedding_training.csv"),
    log:
        results("logs/collect_embedding_training.log"),
    benchmark:
        results("timings/collect_embedding_training.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=[
            {**facts, "final_revision": models.setting(facts["model"], "revision")}
            for facts in study.run_facts(scaling.training_runs, scaling.step)
        ],
        on_duplicate_checkpoint=study.config["on_duplicate_checkpoint"],
        code=code("collect_embedding_training"),
    message:
        "Collecting how the embedding tables settle over training."
    script:
        "../scripts/collect_embedding_training.py"
