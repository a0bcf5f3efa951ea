/* The fiberd hardware ring, ABI version 1, for producers in C or C++. ABI.md beside this file tells how to use it.
 *
 * Little-endian hosts only. Words marked "atomic" are written by one side while the other reads: use
 * __atomic_store_n(&word, value, __ATOMIC_RELEASE) and __atomic_load_n(&word, __ATOMIC_ACQUIRE) or <stdatomic.h>.
 * License: MIT, as fiberd. */
#ifndef FIBERD_RING_H
#define FIBERD_RING_H

#include <stddef.h>
#include <stdint.h>

#define FIBERD_RING_MAGIC "FIBERDRG" /* 8 bytes, no zero behind */
#define FIBERD_RING_ABI_VERSION 1u
#define FIBERD_RING_BYTE_ORDER 0x01020304u
#define FIBERD_RING_HEADER_BYTES 4096u
#define FIBERD_RING_SLOT_HEADER_BYTES 64u

enum fiberd_sample_format { FIBERD_I16 = 1, FIBERD_F32 = 2, FIBERD_IQ16 = 3, FIBERD_I32 = 4 };

enum fiberd_quantity {
  FIBERD_COUNTS = 0,
  FIBERD_OPTICAL_FIELD = 1, /* with FIBERD_IQ16, and only with it */
  FIBERD_PHASE = 2,
  FIBERD_PHASE_RATE = 3,
  FIBERD_STRAIN = 4,
  FIBERD_STRAIN_RATE = 5,
  FIBERD_VELOCITY = 6
};

enum fiberd_clock { FIBERD_FREE_RUNNING = 0, FIBERD_NTP = 1, FIBERD_PTP = 2, FIBERD_GPS = 3 };

enum fiberd_source { FIBERD_INSTRUMENT = 0, FIBERD_REPLAY = 1, FIBERD_SIMULATION = 2 };

enum fiberd_state {
  FIBERD_LASER_ON = 1,
  FIBERD_LIGHT = 2, /* without it fiberd waits for fiber */
  FIBERD_OVERLOAD = 4,
  FIBERD_CALIBRATING = 8
};

enum fiberd_refusal { FIBERD_APPLIED = 0, FIBERD_REFUSED_RATE = 1, FIBERD_REFUSED_BUSY = 2, FIBERD_REFUSED_FIXED = 3 };

/* Bytes 0-4095. */
struct fiberd_ring_header {
  /* 0: identity, written once before the ring can be found */
  char magic[8];
  uint32_t abi_version;
  uint32_t header_bytes;
  uint32_t byte_order;
  uint32_t slot_header_bytes;
  uint64_t slot_count;  /* power of two, 2 to 2^24 */
  uint64_t slot_stride; /* multiple of 64, more than 64 */
  uint64_t ring_bytes;  /* 4096 + slot_count * slot_stride */
  uint64_t reserved_a[2];

  /* 64: atomic; even = the part from 128 to 1023 is whole, odd = it is being changed, 0 = not ready */
  uint64_t epoch;
  uint64_t reserved_b[7];

  /* 128: what holds within one epoch */
  uint64_t instance;   /* differs at each start of the producer, e.g. its clock in ns */
  uint64_t first_slot; /* number of the first slot of this epoch */
  uint32_t channels;
  uint32_t traces_per_slot; /* at most */
  uint32_t sample_format;
  uint32_t quantity;
  double prr_hz;
  double dx_m;
  double gauge_length_m; /* 0 = unknown */
  double fiber_start_m;
  double scale;            /* sample * scale is in `unit` */
  double wavelength_m;     /* 0 = unknown */
  double refractive_index; /* 0 = unknown */
  uint32_t clock_quality;
  uint32_t source; /* FIBERD_INSTRUMENT for everything that measures */
  char unit[32];         /* UTF-8, zero-ended unless full */
  char description[512]; /* UTF-8, zero-ended unless full */
  uint64_t reserved_d[32];

  /* the producer's words, atomic, each alone on its cache line */
  uint64_t slots_written; /* 1024: slots completely written; the number of the next one */
  uint64_t reserved_e[7];
  uint64_t heartbeat_ns; /* 1088: changes at least every 200 ms */
  uint64_t reserved_f[7];
  uint64_t state; /* 1152: enum fiberd_state */
  uint64_t reserved_g[7];
  uint64_t lost_before_ring; /* 1216: traces lost before they could be written */
  uint64_t reserved_h[7];

  /* 1280: the consumer's line, atomic */
  double request_prr_hz;
  uint64_t request_number; /* stored after request_prr_hz; 0 = nothing asked */
  uint64_t reserved_i[6];

  /* 1344: the producer's answer, atomic */
  uint64_t answer_number;  /* stored after answer_refusal */
  uint64_t answer_refusal; /* enum fiberd_refusal */
  uint64_t reserved_j[6];

  uint64_t reserved_k[336]; /* 1408 */
};

/* The first 64 bytes of each slot; samples follow, packed, [trace][channel]. */
struct fiberd_slot_header {
  uint64_t sequence; /* atomic; slot number + 1, 0 while the slot is being written */
  uint64_t epoch;
  uint64_t first_trace; /* number within the epoch */
  int64_t utc_ns;       /* launch of the first trace, ns (not us) since the UNIX epoch, 2000 to 2099 */
  uint32_t traces;      /* 1 to traces_per_slot */
  uint32_t clock_quality;
  uint32_t flags; /* enum fiberd_state at that moment */
  uint32_t reserved_a;
  uint64_t reserved_b[2];
};

#ifdef __cplusplus
#define FIBERD_AT(type, field, at) static_assert(offsetof(type, field) == (at), #field " has moved")
#define FIBERD_SIZE(type, size) static_assert(sizeof(type) == (size), #type " has another size")
#else
#define FIBERD_AT(type, field, at) _Static_assert(offsetof(type, field) == (at), #field " has moved")
#define FIBERD_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size")
#endif
FIBERD_SIZE(struct fiberd_ring_header, 4096);
FIBERD_AT(struct fiberd_ring_header, abi_version, 8);
FIBERD_AT(struct fiberd_ring_header, header_bytes, 12);
FIBERD_AT(struct fiberd_ring_header, byte_order, 16);
FIBERD_AT(struct fiberd_ring_header, slot_header_bytes, 20);
FIBERD_AT(struct fiberd_ring_header, slot_count, 24);
FIBERD_AT(struct fiberd_ring_header, slot_stride, 32);
FIBERD_AT(struct fiberd_ring_header, ring_bytes, 40);
FIBERD_AT(struct fiberd_ring_header, epoch, 64);
FIBERD_AT(struct fiberd_ring_header, instance, 128);
FIBERD_AT(struct fiberd_ring_header, first_slot, 136);
FIBERD_AT(struct fiberd_ring_header, channels, 144);
FIBERD_AT(struct fiberd_ring_header, traces_per_slot, 148);
FIBERD_AT(struct fiberd_ring_header, sample_format, 152);
FIBERD_AT(struct fiberd_ring_header, quantity, 156);
FIBERD_AT(struct fiberd_ring_header, prr_hz, 160);
FIBERD_AT(struct fiberd_ring_header, dx_m, 168);
FIBERD_AT(struct fiberd_ring_header, gauge_length_m, 176);
FIBERD_AT(struct fiberd_ring_header, fiber_start_m, 184);
FIBERD_AT(struct fiberd_ring_header, scale, 192);
FIBERD_AT(struct fiberd_ring_header, wavelength_m, 200);
FIBERD_AT(struct fiberd_ring_header, refractive_index, 208);
FIBERD_AT(struct fiberd_ring_header, clock_quality, 216);
FIBERD_AT(struct fiberd_ring_header, source, 220);
FIBERD_AT(struct fiberd_ring_header, unit, 224);
FIBERD_AT(struct fiberd_ring_header, description, 256);
FIBERD_AT(struct fiberd_ring_header, slots_written, 1024);
FIBERD_AT(struct fiberd_ring_header, heartbeat_ns, 1088);
FIBERD_AT(struct fiberd_ring_header, state, 1152);
FIBERD_AT(struct fiberd_ring_header, lost_before_ring, 1216);
FIBERD_AT(struct fiberd_ring_header, request_prr_hz, 1280);
FIBERD_AT(struct fiberd_ring_header, request_number, 1288);
FIBERD_AT(struct fiberd_ring_header, answer_number, 1344);
FIBERD_AT(struct fiberd_ring_header, answer_refusal, 1352);
FIBERD_SIZE(struct fiberd_slot_header, 64);
FIBERD_AT(struct fiberd_slot_header, epoch, 8);
FIBERD_AT(struct fiberd_slot_header, first_trace, 16);
FIBERD_AT(struct fiberd_slot_header, utc_ns, 24);
FIBERD_AT(struct fiberd_slot_header, traces, 32);
FIBERD_AT(struct fiberd_slot_header, clock_quality, 36);
FIBERD_AT(struct fiberd_slot_header, flags, 40);
#undef FIBERD_AT
#undef FIBERD_SIZE

#endif
