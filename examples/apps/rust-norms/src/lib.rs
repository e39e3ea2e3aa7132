//! Lengths of the rows of a matrix, computed on the device; the adapter and the program around it.
use std::os::raw::{c_float, c_int, c_long};

extern "C" {
    fn device_norms(
        host: *mut c_float, out: *mut c_float, rows: c_long, cols: c_long, factor: c_float, repeat: c_int, debug: c_int,
        milliseconds: *mut c_float,
    ) -> c_int;
}

/// The norms of `rows` rows of `cols` values each, and the milliseconds that `repeat` launches took.
pub fn norms(values: &mut [f32], rows: i64, cols: i64, factor: f32, repeat: i32, debug: bool) -> Result<(Vec<f32>, f32), i32> {
    let mut out = vec![0.0f32; rows as usize];
    let mut took = 0.0f32;
    // SAFETY: both buffers are as long as the sizes that are passed say.
    let status = unsafe {
        device_norms(values.as_mut_ptr(), out.as_mut_ptr(), rows, cols, factor, repeat, debug as c_int, &mut took)
    };
    if status == 0 { Ok((out, took)) } else { Err(status) }
}

/// `rust-norms [--rows N] [--cols N] [--repeat R] [--check] [--debug]`; returns the exit status.
pub fn program(arguments: &[String]) -> i32 {
    let (mut rows, mut cols, mut repeat, mut check, mut debug) = (8192i64, 1024i64, 50i32, false, false);
    let mut at = arguments.iter();
    while let Some(word) = at.next() {
        let number = |word: Option<&String>| word.and_then(|w| w.parse::<i64>().ok());
        match word.as_str() {
            "--rows" => rows = number(at.next()).unwrap_or(rows),
            "--cols" => cols = number(at.next()).unwrap_or(cols),
            "--repeat" => repeat = number(at.next()).unwrap_or(50) as i32,
            "--check" => check = true,
            "--debug" => debug = true,
            other => {
                eprintln!("unknown argument {other}");
                return 2;
            }
        }
    }
    let mut state = 1u32;
    let mut values: Vec<f32> = (0..rows * cols)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 9) as f32 / 4194304.0 - 1.0
        })
        .collect();
    let (found, took) = match norms(&mut values, rows, cols, 0.5, repeat, debug) {
        Ok(found) => found,
        Err(status) => {
            eprintln!("no device, or it failed ({status})");
            return 1;
        }
    };
    println!("sum {:.4}", found.iter().map(|x| *x as f64).sum::<f64>());
    println!("microseconds {:.4}", took * 1000.0 / repeat as f32);
    if check {
        for (row, one) in found.iter().enumerate() {
            let part = &values[row * cols as usize..(row + 1) * cols as usize];
            let right = part.iter().map(|x| (*x as f64 * 0.5).powi(2)).sum::<f64>().sqrt();
            if !((*one as f64 - right).abs() <= 1e-5 * right.max(1.0)) {
                eprintln!("row {row}: {one} instead of {right}");
                return 1;
            }
        }
    }
    0
}

/// The program for a C linker, where there is no cargo: relink/.
#[no_mangle]
pub extern "C" fn rust_program() -> c_int {
    program(&std::env::args().skip(1).collect::<Vec<_>>())
}
