/* Where there is no cargo: the Rust part comes as libnorms.a, and only the CUDA part is built here. */
int rust_program(void);

int main(void)
{
    return rust_program();
}
