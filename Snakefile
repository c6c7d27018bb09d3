import sys
from functools import partial
from pathlib import Path

from snakemake.utils import min_version

min_version("9.20")

ROOT = Path(str(workflow.current_basedir))
sys.path.insert(0, str(ROOT))
from lm_geometry import plan
from lm_geometry.code_digest import DIGESTS, recall_digests, remember_digests
from lm_geometry.configuration.checking import complete_config
from lm_geometry.configuration.reading import ConfigError, read_config
from lm_geometry.configuration.view import Study, either
from lm_geometry.demo.recipes import RECIPES
from lm_geometry.file_states import states_of
from lm_geometry.gpus import visible_gpus
from lm_geometry.job import prepare_environment
from lm_geometry.records import LostRecordsError, check_records, mark_records
from lm_geometry.run_code import RunCode
from lm_geometry.run_lock import RunningError, claim, current_run
from lm_geometry.tables.files import remove_leftovers, set_back_future_times
from lm_geometry.unmade import Unmade

if workflow.modifier.path_modifier.prefix:
    raise SystemExit("prefix: not supported by lm-geometry; set results_dir in the module's config instead")

# A config given by --configfile, or by a workflow that uses this one as a module, stands alone; the embedded default
# applies only without one.
own_config = not workflow.overwrite_configfiles and not workflow.modifier.skip_configfile
default_config = ROOT / "config.yaml"
try:
    if own_config:
        read_config(default_config)  # before Snakemake reads it, whose message on broken YAML has no line
except ConfigError as error:
    raise SystemExit(str(error))

if own_config:

    configfile: default_config


given = [] if workflow.modifier.skip_configfile else workflow.overwrite_configfiles or [default_config]
try:
    study = Study(complete_config(config, [Path(path) for path in given], base=Path.cwd()))
except ConfigError as error:
    raise SystemExit(str(error))

is_module = workflow.modifier.parent_modifier is not None
prepare_environment(ROOT, None if is_module else Path(study.path("")))
if workflow.is_main_process:
    try:
        check_records(Path(study.path("")))
    except LostRecordsError as error:
        raise SystemExit(str(error))

# Jobs that run side by side on this machine take no more than this together: memory in MB (a larger job runs alone), and
# GPUs; --resources sets other limits. They cannot stand in profiles/default: Snakemake would cut down to them what each
# job asks of a cluster.
if workflow.is_main_process and workflow.nodes is None and not is_module:
    for limit, together in {"mem_mb": 3600, "gpu": 1}.items():
        if limit not in workflow.global_resources:
            workflow.register_resource(limit, together)

if workflow.is_main_process and workflow.nodes is not None:
    plan.count_submission()
    if study.dynamics.setting("device") == "auto" and not visible_gpus():
        print(
            "representation_dynamics.device: auto finds no GPU here, so that no job asks for one; for GPU nodes write cuda",
            file=sys.stderr,
        )

if workflow.is_main_process:
    for line in study.models.left_out_words():
        print(line, file=sys.stderr)

if study.scaling.section and not study.scaling.runs:
    asked = ", ".join(study.scaling.section["suites"])
    raise SystemExit(f"embedding_scaling.suites: {asked}: all of their models are optional and absent; add their files")

recall_digests(DIGESTS)
models, scaling, dynamics = study.models, study.scaling, study.dynamics
results = study.path
code = RunCode(ROOT, Path(study.path("")), run=None if workflow.is_main_process else current_run())
file_states = partial(states_of, results=Path(study.path("")))
table_of, run_of = study.embedding_table, study.run_of

# What is compared with, and shown of models that are not run here.
PUBLISHED = ["reference/models.csv", "reference/published_embedding_scaling.csv"]
PUBLISHED_SCORES = [*PUBLISHED, "reference/published_random_baseline.csv"]


wildcard_constraints:
    model=either(list(config["models"])),
    revision=either([run.revision for run in study.compared_runs]),
    embedded=either(study.embedded_models),
    recipe=either([recipe.tokenizer for recipe in RECIPES.values()]),
    tokenizer=either(models.tokenizers),
    collection=either([scaling.collection]),
    corpus=either([dynamics.corpus]),
    suite=either(scaling.suites),


include: "rules/embedded.smk"
include: "rules/ledger.smk"
include: "rules/checkpoints.smk"
include: "rules/retrieval.smk"
include: "rules/embedding_tables.smk"
include: "rules/judgement.smk"
include: "rules/corpus.smk"
include: "rules/dynamics.smk"
include: "rules/figures.smk"


if workflow.is_main_process:
    remember_digests(DIGESTS)


rule all:
    default_target: True
    input:
        results("summary.html"),
        results("embedded/learned.parquet") if study.embedded_models else [],
        results("tables/mteb_results.parquet") if scaling.runs else [],
    message:
        "Everything is made; open {input[0]}."


onstart:
    # Snakemake's own lock outlives a killed run; ours does not (profiles/default turns Snakemake's off). The jobs of a
    # cluster belong to the run that submitted them.
    if workflow.is_main_process:
        try:
            claim(Path(results("")))
            remove_leftovers(Path(results("")))
            set_back_future_times(Path(results("")))
            code.hand_over(current_run())
            mark_records(Path(results("")))
        except RunningError as error:
            raise SystemExit(str(error))
        except OSError as error:
            raise SystemExit(f"results_dir: {Path(results(''))} cannot be written ({error})")
        workflow.globals["unmade"] = Unmade(workflow.dag, workflow.persistence)
        try:
            unmade.mark()
        except OSError as error:
            raise SystemExit(f".snakemake in {Path.cwd()} cannot be written ({error})")


onerror:
    if workflow.is_main_process:
        unmade.unmark_untouched()
        print("Finished jobs stay; the same command goes on from here.", file=sys.stderr)


onsuccess:
    if set(workflow.dag_settings.targets) <= {"all"}:
        print(study.closing_words())
