//! Links into the client what has to run before Rust's standard library does:
//! see `src/client/terminal/closed.c`. SQLite needs the C compiler in any case.

fn main() {
    const SOURCE: &str = "src/client/terminal/closed.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    // As an object: nothing refers to it, so from a library it would be left out.
    for object in cc::Build::new().file(SOURCE).compile_intermediates() {
        println!("cargo::rustc-link-arg-bin=client={}", object.display());
    }
}
