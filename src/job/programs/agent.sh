#!/bin/bash
# Starts a daemon of mpirun on another node: agent.sh HOST COMMAND…
#
# Marks the daemon, and by inheritance all that it starts, with the run's id and the member's, so that leftovers can be
# found. Both have letters, digits, "-" and "." alone; the command is mpirun's own.
host=$1
shift
member=${EWULF_MEMBER:+"export EWULF_MEMBER=$EWULF_MEMBER; "}
exec ssh -o BatchMode=yes -o ConnectTimeout=10 "$host" "export EWULF_RUN=$EWULF_RUN; $member$*"
