# What is there, before a weight is fetched: every revision's files, which revisions are copies, and what a run will cost.


rule resolve_model:
    input:
        files=lambda wildcards: models.files(wildcards.model, wildcards.revision),
        origins=lambda wildcards: models.origins(wildcards.model),
    output:
        listing=results("models/{model}/{revision}/listing.parquet"),
        config=results("models/{model}/{revision}/config.json"),
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
        # No parameter, nor are others of the kind: it changes no result, and Snakemake compares no resources.
        cache_dir=study.config["cache_dir"],
    params:
        source=lambda wildcards: models.source(wildcards.model),
        revision="{revision}",
        embedding_tensor=lambda wildcards: models.setting(wildcards.model, "embedding_tensor"),
        weight_files=lambda wildcards: models.setting(wildcards.model, "weight_files"),
        file_states=lambda wildcards: file_states(models.files(wildcards.model, wildcards.revision)),
        code=code("resolve_model"),
    message:
        "Listing the files of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/resolve_model.py"


rule find_duplicate_checkpoints:
    input:
        listings=study.listings(study.compared_runs),
    output:
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    log:
        results("logs/find_duplicate_checkpoints.log"),
    benchmark:
        results("timings/find_duplicate_checkpoints.tsv")
    priority: 5
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=study.run_facts(study.compared_runs),
        on_duplicate_checkpoint=study.config["on_duplicate_checkpoint"],
        code=code("find_duplicate_checkpoints", data=["reference/known_checkpoint_defects.csv"]),
    message:
        "Comparing the weight files of all revisions."
    script:
        "../scripts/find_duplicate_checkpoints.py"


rule collect_ledger:
    input:
        listings=study.listings(study.runs),
        tables=study.embedding_tables(),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        ledger=results("tables/ledger.parquet"),
        csv=results("tables/ledger.csv"),
    log:
        results("logs/collect_ledger.log"),
    benchmark:
        results("timings/collect_ledger.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=study.run_facts(study.runs),
        code=code("collect_ledger"),
    message:
        "Collecting the ledger: what each revision holds, and what was read of it."
    script:
        "../scripts/collect_ledger.py"


rule write_plan:
    input:
        listings=study.listings(study.planned_runs),
        configs=study.model_configs(study.planned_runs),
    output:
        plan=results("plan/plan.parquet"),
        csv=results("plan/plan.csv"),
    log:
        results("logs/write_plan.log"),
    benchmark:
        results("timings/write_plan.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=study.run_facts(study.planned_runs),
        study=plan.plan_settings(study),
        code=code("write_plan"),
    message:
        "Reckoning what the run will fetch, store and compute."
    script:
        "../scripts/write_plan.py"


# Without an output, which a benchmark would be too, it runs whenever it is asked for: the plan is on the screen each
# time, beside what the disk has now.
rule plan:
    input:
        table=results("plan/plan.parquet"),
        # Of models that the pipeline trains itself there is no listing before they are trained.
        duplicates=[] if study.embedded_models else [results("tables/duplicate_checkpoints.parquet")],
    log:
        results("logs/plan.log"),
    localrule: True
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        study=plan.plan_settings(study),
        code=code("plan"),
    message:
        "What the run will cost, from file lists and config.json alone."
    script:
        "../scripts/plan.py"
