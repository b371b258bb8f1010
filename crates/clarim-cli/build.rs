//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A static program moves to another address at each start. This stores the places to correct as a bitmap,
    // in a hundredth of the space. GNU libc would need a recent loader for it; musl's is part of the program.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
