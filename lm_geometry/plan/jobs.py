"""How many jobs of each rule a config comes to, and the settings that a plan is made from."""

from collections import Counter
from typing import Any

from lm_geometry.configuration.models import EMBEDDED, Run
from lm_geometry.configuration.view import Study
from lm_geometry.demo.recipes import RECIPES
from lm_geometry.plan.passing import SETTINGS

KNOWN_COLLECTIONS = {"SCIDOCS": (25_657, 1_000), EMBEDDED: (1_709, 1_709)}
"""Documents and queries of collections whose size is known beforehand; Python versions differ in their docstrings."""


def count_jobs(study: Study) -> dict[str, int]:
    """Return how many jobs each rule has when a study is made from an empty results folder, ``all`` included."""
    jobs = _shared_jobs(study) + _embedded_jobs(study)
    for run in study.runs:
        jobs.update(jobs_of_run(run, study))
    return dict(+jobs)


def jobs_of_run(run: Run, study: Study) -> dict[str, int]:
    """Return the jobs that belong to one revision of a model alone, by rule."""
    rules = ["resolve_model"]
    if run in study.scaling.table_runs:
        rules += [
            "extract_embedding_table",
            "pool_collection",
            *(["score_variants"] if study.scaling.variants_of(run) else []),
        ]
        rules += ["find_principal_components"] if study.scaling.uses_components(run) else []
    rules += ["measure_embedding_table"] if run in study.scaling.runs else []
    rules += ["compare_embedding_tables"] if run in study.scaling.training_runs else []
    if run in study.dynamics.runs:
        measured = ["stream_geometry"] if study.dynamics.streams else ["dump_hidden_states", "measure_geometry"]
        rules += ["fetch_checkpoint", *measured]
    return dict.fromkeys(rules, 1)


def _shared_jobs(study: Study) -> Counter[str]:
    """Return the jobs that several models share: texts, tokenizers, tables, figures."""
    scaling, dynamics = study.scaling, study.dynamics
    tokenizers = len(set(scaling.tokenizers) | set(scaling.baseline_tokenizers))
    jobs = Counter(
        all=1,
        resolve_model=len(study.compared_runs) - len(study.runs),
        find_duplicate_checkpoints=1,
        collect_ledger=1,
        collect_claims=1,
        write_summary=1,
        fetch_tokenizer=len(
            {study.models.tokenizer(run.model) for run in study.runs}
            | set(scaling.baseline_tokenizers)
            | set(dynamics.counting_tokenizers)
        ),
    )
    if scaling.section:
        jobs.update(
            fetch_collection=int(tokenizers > 0),
            tokenize_collection=tokenizers,
            score_random_tokenizer=len(scaling.baseline_tokenizers),
            score_random_columns=len(scaling.random_columns_files("scores")),
            collect_retrieval_scores=1,
            write_mteb_results=int(bool(scaling.runs)),
            compare_scores=1,
            judge_scaling_claims=1,
            compare_published=1,
            collect_embedding_geometry=1,
            plot_embedding_geometry=1,
            collect_embedding_training=int(bool(scaling.training)),
            plot_embedding_training=len(scaling.training),
            plot_published_comparison=int(scaling.is_published),
            plot_suite_scaling=len(scaling.suites),
            plot_all_suites=1,
            plot_random_baselines=int(scaling.random_tokenizer is not None),
        )
    if dynamics.section:
        corpus = int(bool(dynamics.runs))
        jobs.update(
            fetch_enwik8=corpus,
            clean_enwik8=corpus,
            sample_chunks=corpus,
            collect_geometry=1,
            compare_geometry=1,
            judge_dynamics_claims=1,
            plot_profiles=int(bool(dynamics.profiles)),
            plot_dimension_scale=int(bool(dynamics.profiles)),
            plot_training_dimension=len(dynamics.training),
            plot_training_anisotropy=len(dynamics.training),
            plot_training_heatmap=len(dynamics.training),
        )
    return jobs


def _embedded_jobs(study: Study) -> Counter[str]:
    """Return the jobs that make the embedded texts, tokenizers and models."""
    models = study.embedded_models
    trained_on = {RECIPES[name].tokenizer for name in models}
    labels = {study.models.tokenizer_label(run.model) for run in study.runs} | set(study.models.other_tokenizers)
    tokenizers = trained_on | {
        label.removeprefix(f"{EMBEDDED}:") for label in labels if label.startswith(f"{EMBEDDED}:")
    }
    collection = study.scaling.setting("collection") == EMBEDDED and bool(study.scaling.runs)
    corpus = study.dynamics.setting("corpus") == EMBEDDED and bool(study.dynamics.runs)
    return Counter(
        extract_prose=int(bool(tokenizers) or collection or corpus),
        make_collection=int(collection),
        make_dump=int(corpus),
        train_tokenizer=len(tokenizers),
        tokenize_prose=len(trained_on),
        train_model=len(models),
        check_training=int(bool(models)),
    )


def plan_settings(study: Study) -> dict[str, Any]:
    """Return what ``write_plan`` takes as ``study``: the settings that a plan follows from, as plain values.

    Returns
    -------
    dict
        ``jobs`` : dict of str to int
            Jobs by rule (``count_jobs``).
        ``run_jobs`` : list of int
            Jobs of each run alone, in the order of ``study.planned_runs``.
        ``trained_here`` : list of str
            Models that the pipeline trains itself; they have no row.
        ``tokenizers`` : list of str
            The tokenizer of each of ``study.planned_runs``.
        ``scored``, ``followed``, ``dumped`` : list of [model, revision]
            Runs whose tables are scored in every variant, are followed over training, and whose hidden states are
            measured.
        ``plain_variants``, ``random_variants`` : list of str
            Variants without and with random columns.
        ``table_batches``, ``table_batch_size``
            How tables are measured; None without the embedding study.
        ``collection`` : str
            Name of the collection.
        ``texts`` : list of int, or None
            Its documents and queries; None where they are not known beforehand.
        ``variants``, ``random_seeds``, ``random_generator``
            As in the config; empty and None without the embedding study.
        ``random_widths``, ``random_tokenizer_seeds`` : list of int
            Widths and seeds of the random tokenizer baselines; empty where none are asked for.
        ``n_characters`` : int
            Characters of all chunks together, 0 without the dynamics study.
        ``n_chunks``, ``n_batches``, ``batch_size``, and ``passing.SETTINGS``
            As in the config; None without the dynamics study.
        ``verify``, ``keep_checkpoints``, ``keep_hidden_states``
            As in the config.
        ``streams`` : bool
            Whether no hidden states are stored.
        ``cache_dir``, ``results_dir`` : str
            Folders whose disks are looked at.
    """
    scaling, dynamics, config = study.scaling, study.dynamics, study.config
    known = KNOWN_COLLECTIONS.get(scaling.collection)
    return {
        "jobs": count_jobs(study),
        "run_jobs": [sum(jobs_of_run(run, study).values()) for run in study.planned_runs],
        "trained_here": study.embedded_models,
        "tokenizers": [study.models.tokenizer(run.model) for run in study.planned_runs],
        "scored": [[run.model, run.revision] for run in scaling.runs],
        "followed": [[run.model, run.revision] for run in scaling.training_runs],
        "dumped": [[run.model, run.revision] for run in dynamics.runs],
        "collection": scaling.collection,
        "texts": list(known) if known else None,
        "plain_variants": scaling.plain_variants,
        "random_variants": scaling.random_variants,
        "table_batches": scaling.geometry_setting("n_batches"),
        "table_batch_size": scaling.geometry_setting("batch_size"),
        "random_seeds": scaling.setting("random_seeds") or [],
        "random_generator": scaling.setting("random_generator"),
        "random_widths": scaling.random_setting("widths") or [],
        "random_tokenizer_seeds": scaling.random_setting("seeds") or [],
        "n_characters": dynamics.n_characters,
        **{key: dynamics.setting(key) for key in ("n_chunks", "n_batches", "batch_size", *SETTINGS)},
        "verify": config["verify"],
        "keep_checkpoints": config["keep_checkpoints"],
        "keep_hidden_states": bool(dynamics.setting("keep_hidden_states")),
        "streams": dynamics.streams,
        "cache_dir": config["cache_dir"],
        "results_dir": config["results_dir"],
    }
