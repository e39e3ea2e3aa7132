fn main() {
    std::process::exit(norms::program(&std::env::args().skip(1).collect::<Vec<_>>()))
}
