#!/bin/bash
# Starts a daemon of mpirun on another node: agent.sh HOST COMMAND…
#
# Marks the daemon, and by inheritance all that it starts, with the run's id, so that leftovers can be found. The id has
# letters, digits and "-" alone; the command is mpirun's own.
host=$1
shift
exec ssh -o BatchMode=yes -o ConnectTimeout=10 "$host" "export EWULF_RUN=$EWULF_RUN; $*"
