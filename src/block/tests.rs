//! Rows, leases and pools.

use super::*;
use crate::acquisition::Acquisition;

fn pool(count: usize) -> BlockPool {
    let acquisition = Arc::new(Acquisition::example());
    let layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(20));
    BlockPool::new(layout, count, &acquisition)
}

#[test]
fn rows_are_aligned_and_do_not_overlap() {
    let pool = pool(2);
    let mut blank = pool.take().unwrap();
    let block = blank.block();
    assert_eq!(block.bytes().as_ptr() as usize % ROW_ALIGN, 0);
    for t in 0..block.layout().capacity_traces {
        block.row_mut(t).fill(t as u8);
    }
    for t in 0..block.layout().capacity_traces {
        assert!(block.row(t).iter().all(|&b| b == t as u8));
    }
}

#[test]
fn every_block_comes_home_however_many_shares_were_held_and_on_whatever_thread() {
    let pool = pool(3);
    for round in 0..2000 {
        let leases: Vec<_> = std::iter::from_fn(|| pool.take()).map(Blank::seal).collect();
        assert_eq!(leases.len(), 3, "round {round}");
        assert!(pool.take().is_none());
        let shares: Vec<_> = leases.iter().map(Lease::share).collect();
        std::thread::scope(|s| {
            s.spawn(|| drop(leases));
            s.spawn(|| drop(shares));
        });
    }
}

#[test]
fn who_keeps_blocks_takes_none_from_others() {
    let pool = pool(2);
    let mut kept = vec![pool.take().unwrap().seal()];
    for _ in 0..2 {
        kept[0].keep_for_long(3);
    }
    kept.extend((0..2).map(|_| pool.take().unwrap().seal()));
    for _ in 0..10 {
        let both = [pool.take().unwrap(), pool.take().unwrap()];
        assert!(pool.take().is_none());
        drop(both);
    }
}

#[test]
fn the_block_that_came_home_last_goes_out_first() {
    let pool = pool(8);
    let first = pool.take().unwrap().seal();
    let second = pool.take().unwrap().seal();
    let [place, other] = [&first, &second].map(|lease| lease.bytes().as_ptr());
    assert_ne!(place as usize % 4096, other as usize % 4096, "blocks begin at different places of a cache");
    drop(second);
    drop(first);
    assert_eq!(pool.take().unwrap().seal().bytes().as_ptr(), place);
}

#[test]
fn a_block_that_is_not_sealed_comes_home_as_well() {
    let pool = pool(3);
    for _ in 0..10 {
        assert_eq!((pool.free(), pool.total()), (3, 3));
        let blank = pool.take().unwrap();
        let sealed = pool.take().unwrap().seal();
        assert_eq!(pool.free(), 1);
        drop((blank, sealed));
    }
    let blank = pool.take().unwrap();
    drop(pool);
    drop(blank);
}

#[test]
fn a_lease_may_outlive_its_pool() {
    let pool = pool(2);
    let lease = pool.take().unwrap().seal();
    drop(pool);
    assert_eq!(lease.row(0).len(), lease.layout().row_bytes());
}
