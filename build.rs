//! Builds anew when a file that the binary embeds is added or removed; changes of known files cargo sees itself.

fn main() {
    for folder in ["clusters", "images", "jobs", "src/kernels", "templates"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
