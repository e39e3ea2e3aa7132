// What candidates change: y = the transpose of x, both n x n in rows, in tiles of block x block.
void transpose(const float *x, float *y, long n, long block) {
    for (long top = 0; top < n; top += block)
        for (long left = 0; left < n; left += block) {
            long bottom = top + block < n ? top + block : n, right = left + block < n ? left + block : n;
            for (long i = top; i < bottom; i++)
                for (long j = left; j < right; j++) y[j * n + i] = x[i * n + j];
        }
}
