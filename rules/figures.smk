# Figures of both studies, each with the data it was drawn from, and the page that shows them.


rule plot_suite_scaling:
    input:
        scores=results("tables/retrieval_scores.parquet"),
    output:
        png=report(
            results("figures/suite_scaling/{suite}.png"),
            caption="captions/suite_scaling.rst",
            category="Embedding scaling",
            labels={"figure": "variants", "suite": "{suite}"},
        ),
        svg=results("figures/suite_scaling/{suite}.svg"),
        pdf=results("figures/suite_scaling/{suite}.pdf"),
        data=results("figures/suite_scaling/{suite}.parquet"),
        csv=results("figures/suite_scaling/{suite}.csv"),
        caption=results("figures/suite_scaling/{suite}.rst"),
    log:
        results("logs/plot_suite_scaling/{suite}.log"),
    benchmark:
        results("timings/plot_suite_scaling/{suite}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        suite="{suite}",
        left_out=lambda wildcards: scaling.left_out([wildcards.suite]),
        code=code("plot_suite_scaling", data=PUBLISHED),
    message:
        "Plotting the variants over the models of {wildcards.suite}."
    script:
        "../scripts/plot_suite_scaling.py"


rule plot_all_suites:
    input:
        scores=results("tables/retrieval_scores.parquet"),
    output:
        png=report(
            results("figures/all_suites.png"),
            caption="captions/all_suites.rst",
            category="Embedding scaling",
            labels={"figure": "all suites"},
        ),
        svg=results("figures/all_suites.svg"),
        pdf=results("figures/all_suites.pdf"),
        data=results("figures/all_suites.parquet"),
        csv=results("figures/all_suites.csv"),
        caption=results("figures/all_suites.rst"),
    log:
        results("logs/plot_all_suites.log"),
    benchmark:
        results("timings/plot_all_suites.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        # The config's own suites: one with no model to run keeps its published points.
        left_out=scaling.left_out(scaling.setting("suites") or []),
        code=code("plot_all_suites", data=PUBLISHED),
    message:
        "Plotting all suites over the width."
    script:
        "../scripts/plot_all_suites.py"


rule plot_random_baselines:
    input:
        scores=results("tables/retrieval_scores.parquet"),
    output:
        png=report(
            results("figures/random_baselines.png"),
            caption="captions/random_baselines.rst",
            category="Embedding scaling",
            labels={"figure": "random tokenizer baselines"},
        ),
        svg=results("figures/random_baselines.svg"),
        pdf=results("figures/random_baselines.pdf"),
        data=results("figures/random_baselines.parquet"),
        csv=results("figures/random_baselines.csv"),
        caption=results("figures/random_baselines.rst"),
    log:
        results("logs/plot_random_baselines.log"),
    benchmark:
        results("timings/plot_random_baselines.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("plot_random_baselines"),
    message:
        "Plotting the random tokenizer baselines."
    script:
        "../scripts/plot_random_baselines.py"


rule plot_embedding_geometry:
    input:
        geometry=results("tables/embedding_geometry.parquet"),
    output:
        png=report(
            results("figures/embedding_geometry.png"),
            caption="captions/embedding_geometry.rst",
            category="Embedding scaling",
            labels={"figure": "geometry of the tables"},
        ),
        svg=results("figures/embedding_geometry.svg"),
        pdf=results("figures/embedding_geometry.pdf"),
        data=results("figures/embedding_geometry.parquet"),
        csv=results("figures/embedding_geometry.csv"),
        caption=results("figures/embedding_geometry.rst"),
    log:
        results("logs/plot_embedding_geometry.log"),
    benchmark:
        results("timings/plot_embedding_geometry.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("plot_embedding_geometry"),
    message:
        "Plotting the geometry of the embedding tables over the width."
    script:
        "../scripts/plot_embedding_geometry.py"


rule plot_embedding_training:
    input:
        training=results("tables/embedding_training.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        png=report(
            results("figures/embedding_training/{model}.png"),
            caption="captions/embedding_training.rst",
            category="Embedding scaling",
            labels={"figure": "table over training", "model": "{model}"},
        ),
        svg=results("figures/embedding_training/{model}.svg"),
        pdf=results("figures/embedding_training/{model}.pdf"),
        data=results("figures/embedding_training/{model}.parquet"),
        csv=results("figures/embedding_training/{model}.csv"),
        caption=results("figures/embedding_training/{model}.rst"),
    log:
        results("logs/plot_embedding_training/{model}.log"),
    benchmark:
        results("timings/plot_embedding_training/{model}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        model="{model}",
        revisions=lambda wildcards: scaling.training[wildcards.model],
        code=code("plot_embedding_training"),
    message:
        "Plotting the embedding table of {wildcards.model} over training."
    script:
        "../scripts/plot_embedding_training.py"


rule plot_published_comparison:
    input:
        comparison=results("tables/published_comparison.parquet"),
    output:
        png=report(
            results("figures/published_comparison.png"),
            caption="captions/published_comparison.rst",
            category="Embedding scaling",
            labels={"figure": "published values and ours"},
        ),
        svg=results("figures/published_comparison.svg"),
        pdf=results("figures/published_comparison.pdf"),
        data=results("figures/published_comparison.parquet"),
        csv=results("figures/published_comparison.csv"),
        caption=results("figures/published_comparison.rst"),
    log:
        results("logs/plot_published_comparison.log"),
    benchmark:
        results("timings/plot_published_comparison.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        code=code("plot_published_comparison"),
    message:
        "Plotting the published values and ours."
    script:
        "../scripts/plot_published_comparison.py"


rule plot_profiles:
    input:
        geometry=results("tables/geometry.parquet"),
    output:
        png=report(
            results("figures/profiles.png"),
            caption="captions/profiles.rst",
            category="Representation dynamics",
            labels={"figure": "layer profiles"},
        ),
        svg=results("figures/profiles.svg"),
        pdf=results("figures/profiles.pdf"),
        data=results("figures/profiles.parquet"),
        csv=results("figures/profiles.csv"),
        caption=results("figures/profiles.rst"),
    log:
        results("logs/plot_profiles.log"),
    benchmark:
        results("timings/plot_profiles.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        profiles=[[run.model, run.revision] for run in dynamics.profiles],
        code=code("plot_profiles"),
    message:
        "Plotting layer profiles of encoders and decoders."
    script:
        "../scripts/plot_profiles.py"


rule plot_dimension_scale:
    input:
        geometry=results("tables/geometry.parquet"),
    output:
        png=report(
            results("figures/dimension_scale.png"),
            caption="captions/dimension_scale.rst",
            category="Representation dynamics",
            labels={"figure": "dimension against scale"},
        ),
        svg=results("figures/dimension_scale.svg"),
        pdf=results("figures/dimension_scale.pdf"),
        data=results("figures/dimension_scale.parquet"),
        csv=results("figures/dimension_scale.csv"),
        caption=results("figures/dimension_scale.rst"),
    log:
        results("logs/plot_dimension_scale.log"),
    benchmark:
        results("timings/plot_dimension_scale.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        profiles=[[run.model, run.revision] for run in dynamics.profiles],
        code=code("plot_dimension_scale"),
    message:
        "Plotting the dimension against the number of tokens."
    script:
        "../scripts/plot_dimension_scale.py"


rule plot_training_dimension:
    input:
        geometry=results("tables/geometry.parquet"),
        layer_means=results("tables/geometry_layer_means.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        png=report(
            results("figures/training_dimension/{model}.png"),
            caption="captions/training_dimension.rst",
            category="Representation dynamics",
            labels={"figure": "dimension over training", "model": "{model}"},
        ),
        svg=results("figures/training_dimension/{model}.svg"),
        pdf=results("figures/training_dimension/{model}.pdf"),
        data=results("figures/training_dimension/{model}.parquet"),
        csv=results("figures/training_dimension/{model}.csv"),
        caption=results("figures/training_dimension/{model}.rst"),
    log:
        results("logs/plot_training_dimension/{model}.log"),
    benchmark:
        results("timings/plot_training_dimension/{model}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        model="{model}",
        revisions=lambda wildcards: dynamics.training[wildcards.model],
        code=code("plot_training_dimension"),
    message:
        "Plotting the dimension of {wildcards.model} over training."
    script:
        "../scripts/plot_training_dimension.py"


rule plot_training_anisotropy:
    input:
        geometry=results("tables/geometry.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        png=report(
            results("figures/training_anisotropy/{model}.png"),
            caption="captions/training_anisotropy.rst",
            category="Representation dynamics",
            labels={"figure": "anisotropy over training", "model": "{model}"},
        ),
        svg=results("figures/training_anisotropy/{model}.svg"),
        pdf=results("figures/training_anisotropy/{model}.pdf"),
        data=results("figures/training_anisotropy/{model}.parquet"),
        csv=results("figures/training_anisotropy/{model}.csv"),
        caption=results("figures/training_anisotropy/{model}.rst"),
    log:
        results("logs/plot_training_anisotropy/{model}.log"),
    benchmark:
        results("timings/plot_training_anisotropy/{model}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        model="{model}",
        revisions=lambda wildcards: dynamics.training[wildcards.model],
        code=code("plot_training_anisotropy"),
    message:
        "Plotting the anisotropy of {wildcards.model} over training."
    script:
        "../scripts/plot_training_anisotropy.py"


rule plot_training_heatmap:
    input:
        geometry=results("tables/geometry.parquet"),
        duplicates=results("tables/duplicate_checkpoints.parquet"),
    output:
        png=report(
            results("figures/training_heatmap/{model}.png"),
            caption="captions/training_heatmap.rst",
            category="Representation dynamics",
            labels={"figure": "layers over training", "model": "{model}"},
        ),
        svg=results("figures/training_heatmap/{model}.svg"),
        pdf=results("figures/training_heatmap/{model}.pdf"),
        data=results("figures/training_heatmap/{model}.parquet"),
        csv=results("figures/training_heatmap/{model}.csv"),
        caption=results("figures/training_heatmap/{model}.rst"),
    log:
        results("logs/plot_training_heatmap/{model}.log"),
    benchmark:
        results("timings/plot_training_heatmap/{model}.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        model="{model}",
        revisions=lambda wildcards: dynamics.training[wildcards.model],
        code=code("plot_training_heatmap"),
    message:
        "Plotting the layers of {wildcards.model} over training."
    script:
        "../scripts/plot_training_heatmap.py"


rule write_summary:
    input:
        figures=study.figure_files("png"),
        captions=study.figure_files("rst"),
        tables=study.table_files(),
        corpus=dynamics.corpus_statistics(),
    output:
        summary=results("summary.html"),
    log:
        results("logs/write_summary.log"),
    benchmark:
        results("timings/write_summary.tsv")
    conda:
        "../envs/analysis.yaml"
    resources:
        mem_mb=plan.memory_mb(plan.LIGHT_MB),
        runtime=plan.minutes(5),
    params:
        title=study.title,
        code=code("write_summary"),
    message:
        "Writing the page that shows every figure."
    script:
        "../scripts/write_summary.py"
