#!/usr/bin/env bash
# Trains every run of a sweep: as a Slurm job array where there is Slurm, with workers on this machine elsewhere.
#
#   ./start_sweep.sh YAML|ID [--runs N] [--test N] [--jobs K] [--estimate] [--track TRACKER] [-- sbatch options]
#
#   --runs N         how many runs a random or bayes sweep has, in place of its run_cap
#   --test N         train only N runs, covering every shape, to test the sweep, and estimate the time of the others
#   --jobs K         workers: tasks of the array (default: one for each batch of runs), or processes here (default: 1)
#   --estimate       estimate the time and memory of the sweep, and train nothing
#   --track TRACKER  wandb, tensorboard or jsonl, also several times: each run is a W&B run, in the group of the sweep's ID,
#                    and stays offline if there is no API key
#
# Each worker takes one batch of runs at a time until none is left. A last job checks that every run is done, and fails
# if not: go on with ./start_sweep.sh ID. Tasks may be requeued: SIGTERM checkpoints, and a task that starts again
# goes on from there. What follows -- goes to sbatch (with --estimate, to srun), such as --gres=gpu:1 --time=2:00:00
# --partition=gpu; where there is no Slurm it is refused. Slurm's programs without a configuration count as no Slurm;
# a Slurm that is configured and does not answer is an error, since its login node is no place to train.
set -euo pipefail
# Up to bash 4.3, and on a Mac, an empty array counts as unset: hence ${test[@]+"${test[@]}"}.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

fail() {
  echo "start_sweep.sh: error: $*" >&2
  exit 2
}

is_count() {
  [[ "$1" =~ ^[1-9][0-9]*$ ]]
}

sweep="" test=() jobs="" runs="" track=() estimate="" options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --test) is_count "${2:-}" || fail "--test ${2:-}: give a positive number of runs"; test=(--test "$2"); shift 2 ;;
    --jobs) is_count "${2:-}" || fail "--jobs ${2:-}: give a positive number of workers"; jobs="$2"; shift 2 ;;
    --runs) is_count "${2:-}" || fail "--runs ${2:-}: give a positive number of runs"; runs="$2"; shift 2 ;;
    --estimate) estimate=yes; shift ;;
    --track)
      case "${2:-}" in
        wandb | tensorboard | jsonl) track+=("$2"); shift 2 ;;
        *) fail "--track ${2:-}: give wandb, tensorboard or jsonl" ;;
      esac
      ;;
    --) shift; options=("$@"); break ;;
    -*) fail "$1: unknown; sbatch options go after --" ;;
    *) [ -z "$sweep" ] || fail "$1: one sweep at a time, $sweep is given already"; sweep="$1"; shift ;;
  esac
done
[ -n "$sweep" ] || { usage >&2; exit 2; }
if [ -n "$estimate" ] && [ ${#track[@]} -gt 0 ]; then
  fail "--track: --estimate trains no run to be logged; drop one of the two"
fi
client=sbatch slurm="" none="no Slurm here"
[ -z "$estimate" ] || client=srun
if command -v "$client" >/dev/null; then
  if ! command -v sinfo >/dev/null || told="$(sinfo --noheader 2>&1)"; then
    slurm=yes
  else
    case "$told" in
      *"configuration source"* | *slurm.conf*"No such file"*) none="no Slurm here ($client is installed, not configured)" ;;
      *) fail "Slurm does not answer, so nothing was started; sinfo says: ${told##*$'\n'}" ;;
    esac
  fi
fi
if [ ${#options[@]} -gt 0 ] && [ -z "$slurm" ]; then
  fail "$none, so nothing takes what follows --: ${options[*]}"
fi
[ ${#track[@]} -eq 0 ] || track=(--track ${track[@]+"${track[@]}"})

# What runs must be found again later: say so where it could not be.
if git -C "$here" rev-parse --git-dir >/dev/null 2>&1; then
  if [ -n "$(git -C "$here" status --porcelain)" ]; then
    echo "start_sweep.sh: warning: the checkout has uncommitted changes; no commit describes what will run" >&2
  fi
  if ! git -C "$here" rev-parse --abbrev-ref '@{upstream}' >/dev/null 2>&1; then
    echo "start_sweep.sh: warning: this branch has no upstream, so its commits are pushed nowhere" >&2
  elif [ -n "$(git -C "$here" log --oneline '@{upstream}..HEAD')" ]; then
    echo "start_sweep.sh: warning: the checkout has unpushed commits" >&2
  fi
fi

# The environment is made once, here: tasks that each made it would get in each other's way.
if [ -z "${BESTGUESS:-}" ]; then
  # --inexact keeps extras that are installed, such as cuda.
  (cd "$here" && uv sync --locked --inexact --quiet)
  BESTGUESS="$here/.venv/bin/bestguess"
fi

plan="$("$BESTGUESS" sweep "$sweep" --plan --json ${jobs:+--jobs "$jobs"} ${runs:+--runs "$runs"})"
read_plan() {
  "$(dirname "$BESTGUESS")/python" -P -c "import json, sys; plan = json.loads(sys.argv[1]); print($1)" "$plan"
}
id="$(read_plan 'plan["sweep"]')"
folder="$(cd "$(read_plan 'plan["folder"]')" && pwd)"
export BESTGUESS_SWEEP_ATTEMPT="start-$(date +%s)-$$"

if [ -n "$estimate" ]; then
  run=()
  # Where it will run, not where it is submitted.
  if [ -n "$slurm" ]; then
    run=(srun --job-name="$id-estimate" --ntasks=1 ${options[@]+"${options[@]}"})
  else
    echo "$none: measured on this machine"
  fi
  exec ${run[@]+"${run[@]}"} "$BESTGUESS" sweep "$folder" --estimate ${jobs:+--jobs "$jobs"} ${test[@]+"${test[@]}"}
fi

if [ -z "$slurm" ]; then
  echo "$none: ${jobs:-1} worker(s) on this machine"
  exec "$BESTGUESS" sweep "$folder" ${jobs:+--jobs "$jobs"} ${test[@]+"${test[@]}"} ${track[@]+"${track[@]}"}
fi

# One task for each batch of runs, as far as Slurm allows arrays to reach: indices stay below its MaxArraySize.
limit="$(scontrol show config 2>/dev/null | sed -n 's/^MaxArraySize *= *\([0-9][0-9]*\).*/\1/p' || true)"
limit="${limit:-1001}"
[ "$limit" -ge 1 ] || fail "Slurm's MaxArraySize is 0, so it takes no job arrays: run $BESTGUESS sweep $id in jobs of your own"
[ "${jobs:-1}" -le "$limit" ] || fail "--jobs $jobs: Slurm's MaxArraySize allows $limit tasks; give no more"
tasks="${jobs:-$(read_plan 'len(plan["ensembles"])')}"
[ "$tasks" -ge 1 ] || tasks=1
[ "$tasks" -le "$limit" ] || tasks="$limit"
mkdir -p "$folder/logs"
printf -v task '%q ' "$BESTGUESS" sweep "$folder" --worker ${test[@]+"${test[@]}"} ${track[@]+"${track[@]}"}
printf -v check '%q ' "$BESTGUESS" sweep status "$folder" ${test[@]+"${test[@]}"}

# exec: the worker is the batch process itself, so every signal of Slurm's reaches it.
array="$(sbatch --parsable --job-name="$id" --array="0-$((tasks - 1))" --requeue --open-mode=append \
  --output="$folder/logs/%A_%a.log" --signal=B:TERM@120 --export=ALL ${options[@]+"${options[@]}"} <<EOF
#!/bin/sh
exec $task
EOF
)" || fail "sbatch did not take the array of $tasks tasks (above is why); where arrays are limited, give a smaller --jobs"
array="${array%%;*}"
# Only what says where a job may run is of use to the check; it needs neither GPUs nor hours.
keep=()
for option in ${options[@]+"${options[@]}"}; do
  case "$option" in --partition=* | --account=* | --qos=* | --chdir=*) keep+=("$option") ;; esac
done
final="$(sbatch --parsable --job-name="$id-check" --dependency="afterany:$array" --output="$folder/logs/%j-check.log" \
  --ntasks=1 --time=10 ${keep[@]+"${keep[@]}"} <<EOF
#!/bin/sh
exec $check
EOF
)"
echo "sweep $id: $tasks tasks in job $array, checked by job ${final%%;*}"
echo "how far it is: $BESTGUESS sweep status $id"
echo "to go on:      $0 $id"
