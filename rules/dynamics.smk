# The dynamics study: hidden states of every layer, measured in disjoint batches. Forward passes go before the other study,
# for they take longest. The states are dumped and measured, or measured while the model runs (config key hidden_states).

# Dumps are large; they go when their measures are taken, unless the config keeps them.
kept = (lambda file: file) if dynamics.setting("keep_hidden_states") else temp

passed_over = {
    "checkpoint": results("models/{model}/{revision}/checkpoint.parquet"),
    "config": results("models/{model}/{revision}/config.json"),
    "chunks": results(f"corpora/{dynamics.corpus}/chunks.parquet"),
    "tokenizer": lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/tokenizer.json"),
    "tokenizer_listing": lambda wildcards: results(f"tokenizers/{models.tokenizer(wildcards.model)}/listing.parquet"),
}
passing = {
    "device": dynamics.setting("device"),
    "dtype": dynamics.setting("dtype"),
    "batch_tokens": dynamics.setting("batch_tokens"),
    "max_memory": dynamics.setting("max_memory"),
    "trust_remote_code": lambda wildcards: models.setting(wildcards.model, "trust_remote_code"),
}
# What the plan reckons with.
running = {name: dynamics.setting(name) for name in plan.SETTINGS}
# What changes no value is no parameter, so that another cache is no reason to run again.
surroundings = {
    "gpu": lambda wildcards, input: plan.gpus(input.checkpoint, input.config, running),
    "cache_dir": study.config["cache_dir"],
    "keep_checkpoint": int(study.config["keep_checkpoints"]),
}
measuring = {name: dynamics.setting(name) for name in ("n_batches", "batch_size", "duplicate_tolerance", "seed")}
measured = {
    "batches": results("geometry/{model}/{revision}/batches.parquet"),
    "all_tokens": results("geometry/{model}/{revision}/all_tokens.parquet"),
}
fetching_minutes = lambda wildcards, input, attempt: plan.fetch_minutes(
    input.checkpoint, input.config, models.source(wildcards.model), attempt=attempt
)
fetching_mb = lambda wildcards, input: plan.fetch_disk_mb(
    input.checkpoint, input.config, models.source(wildcards.model)
)


if dynamics.streams:

    rule stream_geometry:
        input:
            **passed_over,
        output:
            **measured,
        log:
            results("logs/stream_geometry/{model}/{revision}.log"),
        benchmark:
            results("timings/stream_geometry/{model}/{revision}.tsv")
        priority: 5
        conda:
            "../envs/models.yaml"
        threads: dynamics.setting("threads") or 1
        resources:
            **surroundings,
            mem_mb=lambda wildcards, input, attempt: plan.stream_mb(
                input.checkpoint,
                input.config,
                dynamics.setting("n_chunks"),
                dynamics.setting("batch_size"),
                running,
                attempt=attempt,
            ),
            disk_mb=lambda wildcards, input: fetching_mb(wildcards, input)
            + plan.stream_disk_mb(input.checkpoint, input.config, running),
            runtime=lambda wildcards, input, attempt: fetching_minutes(wildcards, input, attempt)
            + plan.stream_minutes(
                input.checkpoint,
                input.config,
                dynamics.n_characters,
                dynamics.setting("n_chunks"),
                dynamics.setting("n_batches"),
                dynamics.setting("batch_size"),
                running,
                attempt=attempt,
            ),
        params:
            **passing,
            **measuring,
            code=code("stream_geometry"),
        message:
            "Measuring the hidden states of {wildcards.model} at {wildcards.revision} while it runs."
        script:
            "../scripts/stream_geometry.py"

else:

    rule dump_hidden_states:
        input:
            **passed_over,
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
        threads: dynamics.setting("threads") or 1
        resources:
            **surroundings,
            mem_mb=lambda wildcards, input, attempt: plan.dump_mb(
                input.checkpoint, input.config, running, attempt=attempt
            ),
            disk_mb=lambda wildcards, input: fetching_mb(wildcards, input)
            + plan.dump_disk_mb(input.checkpoint, input.config, dynamics.n_characters, running),
            runtime=lambda wildcards, input, attempt: fetching_minutes(wildcards, input, attempt)
            + plan.dump_minutes(input.checkpoint, input.config, dynamics.n_characters, running, attempt=attempt),
        params:
            **passing,
            code=code("dump_hidden_states"),
        message:
            "Dumping the hidden states of {wildcards.model} at {wildcards.revision}."
        script:
            "../scripts/dump_hidden_states.py"

    rule measure_geometry:
        input:
            manifest=results("hidden_states/{model}/{revision}/manifest.parquet"),
            # The manifest has the digests of the files; a folder has only a time, which a clock may have set wrong.
            folder=ancient(results("hidden_states/{model}/{revision}/layers")),
        output:
            **measured,
        log:
            results("logs/measure_geometry/{model}/{revision}.log"),
        benchmark:
            results("timings/measure_geometry/{model}/{revision}.tsv")
        conda:
            "../envs/models.yaml"
        threads: dynamics.setting("threads") or 1
        resources:
            mem_mb=lambda wildcards, input, attempt: plan.measuring_mb(
                input.manifest, dynamics.setting("batch_size"), attempt=attempt
            ),
            runtime=lambda wildcards, input, attempt: plan.measuring_minutes(
                input.manifest,
                dynamics.setting("n_batches"),
                dynamics.setting("batch_size"),
                dynamics.setting("threads") or 1,
                attempt=attempt,
            ),
        params:
            **measuring,
            code=code("measure_geometry"),
        message:
            "Measuring the hidden states of {wildcards.model} at {wildcards.revision}."
        script:
            "../scripts/measure_geometry.py"


rule collect_geometry:
    input:
        batches=dynamics.measure_files("batches"),
        all_tokens=dynamics.measure_files("all_tokens"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        table=results("tables/geometry.parquet"),
        csv=results("tables/geometry.csv"),
        all_batches=results("tables/geometry_batches.parquet"),
        layer_means=results("tables/geometry_layer_means.parquet"),
        layer_means_csv=results("tables/geometry_layer_means.csv"),
    log:
        results("logs/collect_geometry.log"),
    benchmark:
        results("timings/collect_geometry.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=25),
        runtime=plan.minutes(10),
    params:
        models=study.run_facts(dynamics.runs, dynamics.step),
        on_duplicate_checkpoint=study.config["on_duplicate_checkpoint"],
        code=code("collect_geometry"),
    message:
        "Collecting the geometry of all layers."
    script:
        "../scripts/collect_geometry.py"


rule compare_geometry:
    input:
        batches=results("tables/geometry_batches.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        table=results("tables/geometry_comparisons.parquet"),
        csv=results("tables/geometry_comparisons.csv"),
    log:
        results("logs/compare_geometry.log"),
    benchmark:
        results("timings/compare_geometry.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=25),
        runtime=plan.minutes(10),
    params:
        profiles=[[run.model, run.revision] for run in dynamics.profiles],
        training=dynamics.training,
        code=code("compare_geometry"),
    message:
        "Comparing layers, steps and models over the same batches of text."
    script:
        "../scripts/compare_geometry.py"
