use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;

use super::*;

/// A dataset of two dimensions with the values 0, 1, 2 … as `u32`, in chunks that stand in the file in any order.
fn in_chunks(shape: [u64; 2], edges: [u64; 2], packed: bool, order: u64) -> (tempfile::NamedTempFile, Stored) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut chunks = Vec::new();
    let mut at = 0;
    let mut places: Vec<[u64; 2]> = (0..shape[0].div_ceil(edges[0]))
        .flat_map(|a| (0..shape[1].div_ceil(edges[1])).map(move |b| [a * edges[0], b * edges[1]]))
        .collect();
    places.sort_by_key(|[a, b]| (a * 31 + b * 17 + order) % 23);
    for [a, b] in places {
        let values =
            (a..a + edges[0]).flat_map(|row| (b..b + edges[1]).map(move |column| (row * shape[1] + column) as u32));
        let plain: Vec<u8> = values.flat_map(u32::to_le_bytes).collect();
        let stored = if packed {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        } else {
            plain
        };
        file.write_all(&stored).unwrap();
        chunks.push(Chunk { from: vec![a, b], at, bytes: stored.len() as u64, skipped: 0 });
        at += stored.len() as u64;
    }
    let filters = packed.then(|| Filter { id: 1, name: None, parameters: vec![1] }).into_iter().collect();
    let chunks = Chunks::new(&shape, 4, edges.to_vec(), filters, chunks, at).unwrap();
    let stored = Stored::new(Arc::new(file.reopen().unwrap()), at, shape.to_vec(), 4, Place::Chunks(chunks)).unwrap();
    (file, stored)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_value_of_a_window_comes_once_and_at_its_place(
        shape in [1u64..40, 1u64..40], edges in [1u64..45, 1u64..45], packed in any::<bool>(), order in 0u64..23,
        from in [0u64..40, 0u64..40], count in [0u64..41, 0u64..41],
    ) {
        let (_file, stored) = in_chunks(shape, edges, packed, order);
        let from: Vec<u64> = from.iter().zip(shape).map(|(&at, size)| at % size).collect();
        let count: Vec<u64> = (0..2).map(|d| count[d].min(shape[d] - from[d])).collect();
        let mut found = vec![None; (count[0] * count[1]) as usize];
        stored.read(&Area { from: from.clone(), count: count.clone() }, &mut |index, bytes| {
            for (nth, value) in bytes.as_chunks::<4>().0.iter().enumerate() {
                assert_eq!(found[index + nth].replace(u32::from_le_bytes(*value)), None, "a value comes twice");
            }
        }).unwrap();
        let expected = (from[0]..from[0] + count[0])
            .flat_map(|row| (from[1]..from[1] + count[1]).map(move |column| Some((row * shape[1] + column) as u32)));
        prop_assert!(found.into_iter().eq(expected));
    }

    #[test]
    fn no_filter_harms_whatever_a_chunk_says(
        id in prop::sample::select(vec![1u16, 2, 3, 5, 6, 32000, 32001, 32004, 32008, 32015]),
        head in prop::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(2), Just(8), Just(0x7F), Just(0xFF), any::<u8>()],
            0..24,
        ),
        body in prop::collection::vec(any::<u8>(), 0..80),
        parameters in prop::collection::vec(prop_oneof![0u32..20, any::<u32>()], 0..12),
        skipped in 0u32..2, element in 1usize..9,
    ) {
        let stored = [head, body].concat();
        let filters = [Filter { id, name: None, parameters }];
        if let Ok(values) = filters::decode(&filters, skipped, stored, element, 640, &mut filters::Spare::default()) {
            prop_assert_eq!(values.len(), 640);
        }
    }
}

#[test]
fn what_the_file_cannot_hold_is_refused_before_anything_is_allocated() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    let stored = |shape: &[u64], place| Stored::new(Arc::clone(&file), 1000, shape.to_vec(), 2, place);
    assert!(stored(&[500], Place::Run(0)).is_ok());
    for (shape, at) in [(&[501][..], 0), (&[500], 1), (&[u64::MAX, 3], 0), (&[1], u64::MAX), (&[1 << 40, 1 << 30], 0)] {
        assert!(stored(shape, Place::Run(at)).is_err(), "{shape:?} at {at}");
    }
    let chunk = |at, bytes| Chunk { from: vec![0], at, bytes, skipped: 0 };
    let chunks = |edges: &[u64], chunk| Chunks::new(&[64], 2, edges.to_vec(), Vec::new(), vec![chunk], 1000);
    assert!(chunks(&[64], chunk(872, 128)).is_ok());
    for (edges, chunk) in [
        (&[64][..], chunk(873, 128)),
        (&[64], chunk(u64::MAX, 128)),
        (&[0], chunk(0, 128)),
        (&[1 << 40], chunk(0, 128)),
        (&[u64::MAX], chunk(0, 128)),
        (&[8, 8], chunk(0, 128)),
    ] {
        assert!(chunks(edges, chunk).is_err(), "{edges:?}");
    }
}
