//! Compiles the CUDA part with nvcc and links it: no crates are needed.
use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=cuda/norms.cu");
    println!("cargo:rerun-if-env-changed=NVCC");
    println!("cargo:rerun-if-env-changed=CUDA_ARCH");
    let nvcc = env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    let arch = env::var("CUDA_ARCH").unwrap_or_else(|_| "sm_90".into());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let library = out.join("libdevicenorms.a");
    let status = Command::new(&nvcc)
        .args(["-O2", "-lib", "--compiler-options", "-fPIC", &format!("-arch={arch}"), "-o"])
        .arg(&library)
        .arg("cuda/norms.cu")
        .status()
        .unwrap_or_else(|error| panic!("{nvcc}: {error}; set NVCC"));
    assert!(status.success(), "nvcc failed");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=devicenorms");
    for folder in toolkit(&nvcc) {
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
    for library in ["static=cudart_static", "dylib=stdc++", "dylib=dl", "dylib=rt", "dylib=pthread"] {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// Where the toolkit's libraries may lie: beside nvcc, or in CUDA_HOME.
fn toolkit(nvcc: &str) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = env::var("CUDA_HOME").into_iter().map(PathBuf::from).collect();
    homes.push("/usr/local/cuda".into());
    if let Some(home) = PathBuf::from(nvcc).canonicalize().ok().and_then(|p| Some(p.parent()?.parent()?.to_path_buf())) {
        homes.push(home);
    }
    homes.iter().flat_map(|h| [h.join("lib64"), h.join("targets/x86_64-linux/lib"), h.join("lib")]).filter(|p| p.is_dir()).collect()
}
