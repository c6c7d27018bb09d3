# The dynamics study: hidden states of every layer, measured in disjoint batches. Forward passes go before the other study,
# for they take longest.

# Dumps are large; they go when their measures are taken, unless the config keeps them.
kept = (lambda file: file) if dynamics.setting("keep_hidden_states") else temp


rule dump_hidden_states:
    input:
        checkpoint=results("models/{model}/{revision}/checkpoint.parquet"),
        config=results("models/{model}/{revision}/config.json"),
        chunks=results(f"corpora/{dynamics.corpus}/chunks.parquet"),
        tokenizer=lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/tokenizer.json"),
        tokenizer_listing=lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/listing.parquet"),
    output:
        folder=kept(directory(results("hidden_states/{model}/{revision}/layers"))),
        manifest=kept(results("hidden_states/{model}/{revision}/manifest.parquet")),
    log:
        results("logs/dump_hidden_states/{model}/{revision}.log"),
    benchmark:
        results("timings/dump_hidden_states/{model}/{revision}.tsv")
    priority: 5
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.dump_mb(input.checkpoint, input.config, attempt=attempt),
        disk_mb=lambda wildcards, input: plan.dump_disk_mb(input.checkpoint, input.config, dynamics.n_characters)
        + plan.fetch_disk_mb(input.checkpoint, input.config, models.source(wildcards.model)),
        runtime=lambda wildcards, input, attempt: plan.dump_minutes(
            input.checkpoint, input.config, dynamics.n_characters, dynamics.setting("device"), attempt=attempt
        )
        + plan.fetch_minutes(input.checkpoint, input.config, models.source(wildcards.model), attempt=attempt),
        gpu=plan.gpus(dynamics.setting("device")),
        cache_dir=study.config["cache_dir"],
        keep_checkpoint=int(study.config["keep_checkpoints"]),
    params:
        device=dynamics.setting("device"),
        trust_remote_code=lambda wildcards: models.setting(wildcards.model, "trust_remote_code"),
        code=code("dump_hidden_states"),
    message:
        "Dumping the hidden states of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/dump_hidden_states.py"


rule measure_anisotropy:
    input:
        manifest=results("hidden_states/{model}/{revision}/manifest.parquet"),
        folder=results("hidden_states/{model}/{revision}/layers"),
    output:
        measures=results("geometry/{model}/{revision}/anisotropy.parquet"),
    log:
        results("logs/measure_anisotropy/{model}/{revision}.log"),
    benchmark:
        results("timings/measure_anisotropy/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.measuring_mb(
            input.manifest, dynamics.setting("batch_size"), attempt=attempt
        ),
        runtime=lambda wildcards, input, attempt: plan.measuring_minutes(
            input.manifest, dynamics.setting("n_batches"), dynamics.setting("batch_size"), attempt=attempt
        ),
    params:
        n_batches=dynamics.setting("n_batches"),
        batch_size=dynamics.setting("batch_size"),
        duplicate_tolerance=dynamics.setting("duplicate_tolerance"),
        seed=dynamics.setting("seed"),
        code=code("measure_anisotropy"),
    message:
        "Measuring the anisotropy of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/measure_anisotropy.py"


rule measure_intrinsic_dimension:
    input:
        manifest=results("hidden_states/{model}/{revision}/manifest.parquet"),
        folder=results("hidden_states/{model}/{revision}/layers"),
    output:
        measures=results("geometry/{model}/{revision}/intrinsic_dimension.parquet"),
    log:
        results("logs/measure_intrinsic_dimension/{model}/{revision}.log"),
    benchmark:
        results("timings/measure_intrinsic_dimension/{model}/{revision}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=lambda wildcards, input, attempt: plan.measuring_mb(
            input.manifest, dynamics.setting("batch_size"), attempt=attempt
        ),
        runtime=lambda wildcards, input, attempt: plan.measuring_minutes(
            input.manifest, dynamics.setting("n_batches"), dynamics.setting("batch_size"), attempt=attempt
        ),
    params:
        n_batches=dynamics.setting("n_batches"),
        batch_size=dynamics.setting("batch_size"),
        duplicate_tolerance=dynamics.setting("duplicate_tolerance"),
        seed=dynamics.setting("seed"),
        code=code("measure_intrinsic_dimension"),
    message:
        "Measuring the intrinsic dimension of {wildcards.model} at {wildcards.revision}."
    script:
        "../scripts/measure_intrinsic_dimension.py"


rule collect_geometry:
    input:
        measures=dynamics.measure_files(),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        table=results("tables/geometry.parquet"),
        csv=results("tables/geometry.csv"),
    log:
        results("logs/collect_geometry.log"),
    benchmark:
        results("timings/collect_geometry.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=study.run_facts(dynamics.runs, dynamics.step),
        on_duplicate_checkpoint=study.config["on_duplicate_checkpoint"],
        code=code("collect_geometry"),
    message:
        "Collecting the geometry of all layers."
    script:
        "../scripts/collect_geometry.py"
