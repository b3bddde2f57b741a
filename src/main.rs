//! The `ewulf` program; everything is in the library.

fn main() {
    std::process::exit(ewulf::cli::main());
}
