# Verdicts: paired tests, both studies' claims, published values.


rule compare_scores:
    input:
        query_scores=scaling.model_files("query_scores"),
    output:
        comparisons=results("tables/comparisons.parquet"),
        comparisons_csv=results("tables/comparisons.csv"),
        peaks=results("tables/suite_peaks.parquet"),
        peaks_csv=results("tables/suite_peaks.csv"),
    log:
        results("logs/compare_scores.log"),
    benchmark:
        results("timings/compare_scores.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=10),
        runtime=plan.minutes(20),
    params:
        code=code("compare_scores"),
    message:
        "Comparing variants and models over the same queries."
    script:
        "../scripts/compare_scores.py"


rule judge_scaling_claims:
    input:
        query_scores=[*scaling.model_files("query_scores"), *scaling.baseline_files("query_scores")],
        scores=results("tables/retrieval_scores.parquet"),
        training=[results("tables/embedding_training.parquet")] if scaling.training else [],
    output:
        claims=results("claims/embedding_scaling.parquet"),
    log:
        results("logs/judge_scaling_claims.log"),
    benchmark:
        results("timings/judge_scaling_claims.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        # 0.7 GB for 37 models with all variants and 1,000 queries, whose files are 20 MB.
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=25),
        runtime=plan.minutes(20),
    params:
        models=scaling.references(),
        collection=scaling.collection,
        code=code("judge_scaling_claims", data=PUBLISHED),
    message:
        "Testing what the embedding study claims."
    script:
        "../scripts/judge_scaling_claims.py"


rule judge_dynamics_claims:
    input:
        batches=results("tables/geometry_batches.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        claims=results("claims/representation_dynamics.parquet"),
    log:
        results("logs/judge_dynamics_claims.log"),
    benchmark:
        results("timings/judge_dynamics_claims.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB, per_input=25),
        runtime=plan.minutes(10),
    params:
        profiles=[[run.model, run.revision] for run in dynamics.profiles],
        training=dynamics.training,
        corpus=dynamics.corpus,
        code=code("judge_dynamics_claims"),
    message:
        "Testing what the dynamics study claims."
    script:
        "../scripts/judge_dynamics_claims.py"


rule collect_claims:
    input:
        claims=study.claims_files(),
    output:
        table=results("tables/claims.parquet"),
        csv=results("tables/claims.csv"),
    log:
        results("logs/collect_claims.log"),
    benchmark:
        results("timings/collect_claims.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("collect_claims"),
    message:
        "Collecting the verdicts on the studies' claims."
    script:
        "../scripts/collect_claims.py"


rule compare_published:
    input:
        scores=results("tables/retrieval_scores.parquet"),
    output:
        table=results("tables/published_comparison.parquet"),
        csv=results("tables/published_comparison.csv"),
    log:
        results("logs/compare_published.log"),
    benchmark:
        results("timings/compare_published.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        models=scaling.references(),
        random_generator=scaling.setting("random_generator"),
        code=code("compare_published", data=PUBLISHED_SCORES),
    message:
        "Setting the published values beside those of this run."
    script:
        "../scripts/compare_published.py"
