// When the global timer changes, as one thread sees it: what a programmed time can be as exact as.
extern "C" __global__ void ticks(unsigned long long* out) {
  unsigned long long before = 0;
  for (int i = 0; i < 64; ++i) {
    unsigned long long now;
    do {
      asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)::"memory");
    } while (now == before);
    out[i] = before = now;
  }
}
