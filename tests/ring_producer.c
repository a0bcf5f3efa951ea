/* A small producer of the fiberd ring, written from ABI.md as a vendor's driver would be. It makes the ring, then obeys
 * one command a line on stdin and answers each with a line on stdout, so that a test can hold it at any moment:
 *
 *   write SLOTS TRACES   writes slots           skip TRACES     leaves trace numbers out
 *   stream SLOTS TRACES MICROSECONDS            writes slots at that pace
 *   half                 begins a slot and leaves it half written
 *   state FLAGS          sets the state flags   freeze          stops the heartbeat
 *   epoch PRR            begins a new epoch     request         says what is asked: NUMBER PRR
 *   apply | refuse CODE  answers the request    truncate BYTES  changes the size of the file
 *
 * usage: ring_producer PATH CHANNELS TRACES_PER_SLOT SLOTS PRR */
#define _GNU_SOURCE
#include "fiberd_ring.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOAD(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)

static struct fiberd_ring_header *ring;
static int file;
static int frozen;
static uint64_t next_trace;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *beat(void *unused) {
  (void)unused;
  while (!LOAD(frozen)) {
    STORE(ring->heartbeat_ns, now_ns());
    usleep(50000);
  }
  return NULL;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void create(const char *path, uint32_t channels, uint32_t traces, uint64_t slots, double prr_hz) {
  uint64_t stride = (64 + (uint64_t)channels * traces * 2 + 63) / 64 * 64;
  uint64_t bytes = 4096 + slots * stride;
  char beside[4096];
  snprintf(beside, sizeof beside, "%s.new", path);
  unlink(beside);
  file = open(beside, O_RDWR | O_CREAT | O_EXCL, 0660);
  if (file < 0 || posix_fallocate(file, 0, (off_t)bytes) != 0) die(beside);
  ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (ring == MAP_FAILED) die("mmap");
  memcpy(ring->magic, FIBERD_RING_MAGIC, 8);
  ring->abi_version = FIBERD_RING_ABI_VERSION;
  ring->header_bytes = FIBERD_RING_HEADER_BYTES;
  ring->byte_order = FIBERD_RING_BYTE_ORDER;
  ring->slot_header_bytes = FIBERD_RING_SLOT_HEADER_BYTES;
  ring->slot_count = slots;
  ring->slot_stride = stride;
  ring->ring_bytes = bytes;
  ring->instance = now_ns();
  ring->channels = channels;
  ring->traces_per_slot = traces;
  ring->sample_format = FIBERD_I16;
  ring->quantity = FIBERD_PHASE;
  ring->prr_hz = prr_hz;
  ring->dx_m = 1.25;
  ring->gauge_length_m = 10.0;
  ring->fiber_start_m = -3.5;
  ring->scale = 1e-3;
  ring->wavelength_m = 1550e-9;
  ring->refractive_index = 1.468;
  ring->clock_quality = FIBERD_PTP;
  strcpy(ring->unit, "rad");
  strcpy(ring->description, "a fiber written in C");
  STORE(ring->state, FIBERD_LASER_ON | FIBERD_LIGHT);
  STORE(ring->epoch, 2);
  if (rename(beside, path) != 0) die(path);
}

static int16_t sample(uint64_t trace, uint64_t channel) {
  return (int16_t)((trace * 2654435769u + channel * 34283u) >> 7);
}

static struct fiberd_slot_header *begin_slot(void) {
  uint64_t number = ring->slots_written % ring->slot_count;
  struct fiberd_slot_header *slot = (void *)((char *)ring + 4096 + number * ring->slot_stride);
  STORE(slot->sequence, 0);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  return slot;
}

static void fill_slot(struct fiberd_slot_header *slot, uint32_t traces, uint64_t channels) {
  int16_t *samples = (int16_t *)(slot + 1);
  slot->epoch = ring->epoch;
  slot->first_trace = next_trace;
  slot->utc_ns = 1700000000000000000 + (int64_t)((double)next_trace * 1e9 / ring->prr_hz + 0.5);
  slot->traces = traces;
  slot->clock_quality = ring->clock_quality;
  slot->flags = (uint32_t)ring->state;
  for (uint32_t t = 0; t < traces; t++)
    for (uint64_t c = 0; c < channels; c++) *samples++ = sample(next_trace + t, c);
}

static void write_slot(uint32_t traces) {
  struct fiberd_slot_header *slot = begin_slot();
  fill_slot(slot, traces, ring->channels);
  next_trace += traces;
  STORE(slot->sequence, ring->slots_written + 1);
  STORE(ring->slots_written, ring->slots_written + 1);
}

static void begin_epoch(double prr_hz) {
  uint64_t epoch = ring->epoch;
  STORE(ring->epoch, epoch + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  ring->first_slot = ring->slots_written;
  ring->prr_hz = prr_hz;
  STORE(ring->epoch, epoch + 2);
  next_trace = 0;
}

static void answer(uint64_t refusal) {
  STORE(ring->answer_refusal, refusal);
  STORE(ring->answer_number, LOAD(ring->request_number));
}

static void stream(uint64_t slots, uint32_t traces, long microseconds) {
  uint64_t due = now_ns();
  for (uint64_t i = 0; i < slots; i++) {
    write_slot(traces);
    due += (uint64_t)microseconds * 1000;
    struct timespec t = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
  }
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: ring_producer PATH CHANNELS TRACES_PER_SLOT SLOTS PRR\n");
    return 64;
  }
  create(argv[1], (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]), (uint64_t)atoll(argv[4]), atof(argv[5]));
  pthread_t heart;
  if (pthread_create(&heart, NULL, beat, NULL) != 0) die("pthread_create");
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    unsigned long long a = 0, b = 0, c = 0;
    double prr_hz = 0;
    if (sscanf(line, "write %llu %llu", &a, &b) == 2) {
      while (a--) write_slot((uint32_t)b);
    } else if (sscanf(line, "stream %llu %llu %llu", &a, &b, &c) == 3) {
      stream(a, (uint32_t)b, (long)c);
    } else if (sscanf(line, "skip %llu", &a) == 1) {
      next_trace += a;
      STORE(ring->lost_before_ring, ring->lost_before_ring + a);
    } else if (sscanf(line, "state %llu", &a) == 1) {
      STORE(ring->state, a);
    } else if (sscanf(line, "epoch %lf", &prr_hz) == 1) {
      begin_epoch(prr_hz);
    } else if (strcmp(line, "half\n") == 0) {
      fill_slot(begin_slot(), 1, ring->channels / 2);
    } else if (strcmp(line, "freeze\n") == 0) {
      STORE(frozen, 1);
      pthread_join(heart, NULL);
    } else if (strcmp(line, "request\n") == 0) {
      printf("%llu %g\n", (unsigned long long)LOAD(ring->request_number), ring->request_prr_hz);
      continue;
    } else if (strcmp(line, "apply\n") == 0) {
      begin_epoch(ring->request_prr_hz);
      answer(FIBERD_APPLIED);
    } else if (sscanf(line, "refuse %llu", &a) == 1) {
      answer(a);
    } else if (sscanf(line, "truncate %llu", &a) == 1) {
      if (ftruncate(file, (off_t)a) != 0) die("ftruncate");
    } else {
      fprintf(stderr, "unknown command: %s", line);
      return 64;
    }
    puts("ok");
  }
  return 0;
}
