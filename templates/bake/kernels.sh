# Compiles the kernels against this image's own MPI; only the programs that the recipe names stay.

cd "$WORK/kernels" || exit
export HOME=/root CARGO_HOME=$WORK/cargo CARGO_TARGET_DIR=$WORK/target CARGO_INCREMENTAL=0 CARGO_NET_RETRY=5
# The bar is how the bake learns how many crates there are.
export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80
arguments=()
for kernel in "${kernels[@]}"; do
    arguments+=(--bin "$kernel")
done
cargo build --release --features mpi "${arguments[@]}"
for kernel in "${kernels[@]}"; do
    install -m 0755 "$CARGO_TARGET_DIR/release/$kernel" "/opt/ewulf/bin/$kernel"
done
strip /opt/ewulf/bin/*
rm -rf "$CARGO_HOME" "$CARGO_TARGET_DIR"
