"""The graph that tests/config/tiny.yaml asks for, written by hand: what runs, and what runs again after it."""

JOBS = {
    "all": 1,
    "extract_prose": 1,
    "make_dump": 1,
    "make_collection": 1,
    "train_tokenizer": 2,
    "tokenize_prose": 2,
    "train_model": 2,
    "check_training": 1,
    "resolve_model": 3,
    "find_duplicate_checkpoints": 1,
    "collect_ledger": 1,
    "fetch_tokenizer": 2,
    "extract_embedding_table": 2,
    "fetch_checkpoint": 3,
    "fetch_collection": 1,
    "tokenize_collection": 1,
    "pool_collection": 2,
    "find_principal_components": 1,
    "score_variants": 2,
    "score_random_columns": 1,
    "score_random_tokenizer": 1,
    "collect_retrieval_scores": 1,
    "compare_scores": 1,
    "compare_published": 1,
    "judge_scaling_claims": 1,
    "write_mteb_results": 1,
    "measure_embedding_table": 1,
    "collect_embedding_geometry": 1,
    "compare_embedding_tables": 2,
    "collect_embedding_training": 1,
    "fetch_enwik8": 1,
    "clean_enwik8": 1,
    "sample_chunks": 1,
    "dump_hidden_states": 3,
    "measure_geometry": 3,
    "collect_geometry": 1,
    "compare_geometry": 1,
    "judge_dynamics_claims": 1,
    "collect_claims": 1,
    "plot_suite_scaling": 1,
    "plot_all_suites": 1,
    "plot_random_baselines": 1,
    "plot_embedding_geometry": 1,
    "plot_embedding_training": 1,
    "plot_profiles": 1,
    "plot_dimension_scale": 1,
    "plot_training_dimension": 1,
    "plot_training_anisotropy": 1,
    "plot_training_heatmap": 1,
    "write_summary": 1,
}
"""How many jobs each rule has."""

READ_BY = {
    "extract_prose": "make_dump make_collection train_tokenizer tokenize_prose",
    "make_dump": "fetch_enwik8",
    "make_collection": "fetch_collection",
    "train_tokenizer": "tokenize_prose train_model fetch_tokenizer",
    "tokenize_prose": "train_model",
    "train_model": "check_training resolve_model",
    "check_training": "all",
    "resolve_model": (
        "find_duplicate_checkpoints collect_ledger extract_embedding_table fetch_checkpoint dump_hidden_states"
    ),
    "find_duplicate_checkpoints": (
        "collect_ledger collect_embedding_training collect_geometry compare_geometry judge_dynamics_claims "
        "plot_embedding_training plot_training_dimension plot_training_anisotropy plot_training_heatmap"
    ),
    "collect_ledger": "write_summary",
    "fetch_tokenizer": "extract_embedding_table tokenize_collection score_random_tokenizer dump_hidden_states",
    "extract_embedding_table": (
        "collect_ledger pool_collection find_principal_components measure_embedding_table compare_embedding_tables"
    ),
    "fetch_checkpoint": "dump_hidden_states",
    "fetch_collection": (
        "tokenize_collection pool_collection score_variants score_random_columns score_random_tokenizer"
    ),
    "tokenize_collection": "pool_collection score_variants score_random_columns score_random_tokenizer",
    "pool_collection": "score_variants score_random_columns",
    "find_principal_components": "score_variants",
    "score_variants": "collect_retrieval_scores compare_scores judge_scaling_claims collect_embedding_training",
    "score_random_columns": "collect_retrieval_scores compare_scores judge_scaling_claims",
    "score_random_tokenizer": "collect_retrieval_scores judge_scaling_claims",
    "collect_retrieval_scores": (
        "compare_published judge_scaling_claims write_mteb_results plot_suite_scaling plot_all_suites "
        "plot_random_baselines write_summary"
    ),
    "compare_scores": "write_summary",
    "compare_published": "write_summary",
    "judge_scaling_claims": "collect_claims",
    "write_mteb_results": "all",
    "measure_embedding_table": "collect_embedding_geometry",
    "collect_embedding_geometry": "plot_embedding_geometry write_summary",
    "compare_embedding_tables": "collect_embedding_training",
    "collect_embedding_training": "judge_scaling_claims plot_embedding_training write_summary",
    "fetch_enwik8": "clean_enwik8",
    "clean_enwik8": "sample_chunks write_summary",
    "sample_chunks": "dump_hidden_states",
    "dump_hidden_states": "measure_geometry",
    "measure_geometry": "collect_geometry",
    "collect_geometry": (
        "compare_geometry judge_dynamics_claims plot_profiles plot_dimension_scale plot_training_dimension "
        "plot_training_anisotropy plot_training_heatmap write_summary"
    ),
    "compare_geometry": "write_summary",
    "judge_dynamics_claims": "collect_claims",
    "collect_claims": "write_summary",
    "plot_suite_scaling": "write_summary",
    "plot_all_suites": "write_summary",
    "plot_random_baselines": "write_summary",
    "plot_embedding_geometry": "write_summary",
    "plot_embedding_training": "write_summary",
    "plot_profiles": "write_summary",
    "plot_dimension_scale": "write_summary",
    "plot_training_dimension": "write_summary",
    "plot_training_anisotropy": "write_summary",
    "plot_training_heatmap": "write_summary",
    "write_summary": "all",
}
"""Which rules read what a rule writes."""


def below(*rules: str) -> set[str]:
    """Return the rules, and all that read what they write, directly or not."""
    found: set[str] = set()
    waiting = list(rules)
    while waiting:
        rule = waiting.pop()
        if rule not in found:
            found.add(rule)
            waiting += READ_BY.get(rule, "").split()
    return found


def jobs_from(*rules: str, **differing: int) -> dict[str, int]:
    """Return the jobs of the rules and of all below them: as many as the graph has, or as given; none for 0."""
    counts = {rule: JOBS[rule] for rule in below(*rules)} | differing
    return {rule: count for rule, count in counts.items() if count}
