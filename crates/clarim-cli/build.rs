//! How the program is linked.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if !var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        return;
    }
    // A static program moves to another address at each start. This stores the places to correct as a bitmap,
    // in a hundredth of the space. GNU libc would need a recent loader for it; musl's is part of the program.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // Of functions with equal code, Rust's own linker keeps one.
    if let Some(linker) = linker().filter(|folder| Path::new(folder).is_dir()) {
        println!("cargo::rustc-link-arg-bins=-B{linker}");
        println!("cargo::rustc-link-arg-bins=-fuse-ld=lld");
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// The folder in which the toolchain has `ld.lld`.
fn linker() -> Option<String> {
    let printed = Command::new(var("RUSTC").ok()?).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(printed.stdout).ok()?;
    Some(format!("{}/lib/rustlib/{}/bin/gcc-ld", sysroot.trim(), var("HOST").ok()?))
}
