# Runs the recipe's checks as user ewulf, as a job would run; the first that fails stops the bake.

number=0
for check in ${checks[@]+"${checks[@]}"}; do
    number=$((number + 1))
    echo "check $number of ${#checks[@]}: $check"
    folder=$(runuser -u ewulf -- mktemp -d)
    cd "$folder" || exit
    status=0
    runuser -u ewulf -- env -i HOME=/home/ewulf USER=ewulf LOGNAME=ewulf SHELL=/bin/bash LANG=C.UTF-8 \
        PATH=/opt/ewulf/bin:/usr/local/bin:/usr/bin:/bin bash -euo pipefail -c "$check" < /dev/null || status=$?
    cd /
    rm -rf "$folder"
    if [ "$status" -ne 0 ]; then
        echo "check $number of ${#checks[@]} failed with status $status: $check" >&2
        exit "$status"
    fi
done
