#!/bin/bash
# Starts one rank: rank.sh CONTROL ATTEMPT, where CONTROL is the run's .ewulf folder.
#
# Program and environment come from files of NUL-terminated words, so neither mpirun nor a shell ever parses them (mpirun
# would take a lone ":" for the next program). Output goes into one file per rank and stream: mpirun's own tags tear lines
# apart as soon as two ranks write at once (seen with Open MPI 5.0.7). Each block is written through (dsync), because an
# NFS client would otherwise keep it for up to 30 s.
set -u
control=$1
rank=${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-0}}
files=$control/ranks-$2/$rank

mapfile -d '' -t program <"$control/program" || exit 127
mapfile -d '' -t environment <"$control/environment" || exit 127

# Writers outlive a SIGTERM to the whole group, so that last words are kept; end of input ends them.
write() {
    trap '' TERM INT HUP
    exec dd bs=65536 oflag=append,dsync conv=notrunc status=none of="$1"
}
exec 3> >(exec 1>&- 3>&-; write "$files.out")
out=$!
exec 4> >(exec 1>&- 3>&- 4>&-; write "$files.err")
err=$!

# With a handler the shell waits for the rank, which gets the signal itself, and then reports how it ended.
trap : TERM
# The shell's own remark on a rank that a signal ended says less than the status.
exec 2>/dev/null
env -- "${environment[@]}" stdbuf -oL -- "${program[@]}" >&3 2>&4 3>&- 4>&- </dev/null
status=$?
exec 3>&- 4>&-
printf '%s %s\n' "$status" "$HOSTNAME" >"$files.exit"

# A process that the rank left behind may hold its output open: two seconds, then it is no longer waited for.
for _ in {1..40}; do
    kill -0 "$out" 2>/dev/null || kill -0 "$err" 2>/dev/null || break
    sleep 0.05
done
exit "$status"
