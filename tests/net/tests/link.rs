//! Each impairment alone, over fixed seeds: how often, how much, and what stays as it was.

use vestibule_testnet::{BurstLoss, ConfigError, Link, LinkConfig, QueueBound};

/// Sends `count` datagrams holding their number, one each `gap_us`, and returns (arrival, number) of what came out.
fn run(link: &mut Link, count: u32, gap_us: u64, bytes: usize) -> Vec<(u64, u32)> {
    let mut arrived = Vec::new();
    for number in 0..count {
        let now_us = u64::from(number) * gap_us;
        drain(link, now_us, &mut arrived);
        let mut payload = vec![0; bytes.max(4)];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        link.send(now_us, payload);
    }
    drain(link, u64::MAX, &mut arrived);
    let stats = link.stats();
    assert_eq!(
        stats.sent + stats.duplicated,
        stats.lost + stats.queue_dropped + stats.delivered,
        "{stats:?}"
    );
    assert_eq!(link.pending(), 0);
    arrived
}

/// Takes everything that arrives before or at `until_us`, each at its own time.
fn drain(link: &mut Link, until_us: u64, arrived: &mut Vec<(u64, u32)>) {
    while let Some(at_us) = link.next_at().filter(|at_us| *at_us <= until_us) {
        while let Some(payload) = link.poll(at_us) {
            arrived.push((at_us, u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])));
        }
    }
}

fn numbers(arrived: &[(u64, u32)]) -> Vec<u32> {
    arrived.iter().map(|(_, number)| *number).collect()
}

#[test]
fn a_perfect_line_delivers_everything_at_once_and_in_order() {
    let arrived = run(&mut Link::new(LinkConfig::default(), 1), 1_000, 100, 10);
    assert_eq!(arrived, (0..1_000).map(|n| (u64::from(n) * 100, n)).collect::<Vec<_>>());
}

#[test]
fn nothing_arrives_before_its_delay() {
    let mut link = Link::new(LinkConfig::default().delay_ms(20), 1);
    link.send(5, b"x".as_slice());
    assert_eq!(link.next_at(), Some(20_005));
    assert_eq!(link.poll(20_004), None);
    assert_eq!(link.poll(20_005), Some(b"x".to_vec()));
    assert_eq!(link.next_at(), None);
}

#[test]
fn a_policed_line_lets_a_bucket_through_at_once_then_its_rate_and_lets_nothing_wait() {
    const DELAY_US: u64 = 20_000;
    let line = LinkConfig { overhead_bytes: 0, ..LinkConfig::default() }.delay_ms(20).rate_bps(1_000_000);
    // 8 Mbit/s for a second: a bucket of ten datagrams, and 125 kB.
    let arrived = run(&mut Link::new(line.policed_bytes(10_000), 1), 1_000, 1_000, 1_000);
    assert!((134..=135).contains(&arrived.len()), "{}", arrived.len());
    assert_eq!(numbers(&arrived)[..10], (0..10).collect::<Vec<_>>());
    assert!(arrived.iter().all(|(at_us, number)| *at_us == u64::from(*number) * 1_000 + DELAY_US));
    // Below the rate nothing is lost.
    assert_eq!(run(&mut Link::new(line.policed_bytes(10_000), 1), 1_000, 10_000, 1_000).len(), 1_000);
}

#[test]
fn jitter_spreads_arrivals_and_keeps_the_order() {
    for seed in 0..10 {
        let mut link = Link::new(LinkConfig::default().delay_ms(20).jitter_ms(10), seed);
        let arrived = run(&mut link, 2_000, 1_000, 10);
        assert_eq!(numbers(&arrived), (0..2_000).collect::<Vec<_>>(), "seed {seed}");
        let extra_us: Vec<u64> = arrived.iter().map(|(at, n)| at - u64::from(*n) * 1_000 - 20_000).collect();
        assert!(extra_us.iter().all(|us| *us <= 10_000), "seed {seed}");
        assert!(
            extra_us.iter().any(|us| *us < 5_000) && extra_us.iter().any(|us| *us > 9_000),
            "seed {seed}"
        );
    }
}

#[test]
fn reordering_holds_back_the_share_asked_for() {
    for seed in 0..10 {
        let mut link = Link::new(LinkConfig::default().delay_ms(20).reorder(0.05, 5), seed);
        let arrived = run(&mut link, 10_000, 1_000, 10);
        assert_eq!(arrived.len(), 10_000);
        let late = arrived.iter().filter(|(at, n)| at - u64::from(*n) * 1_000 == 25_000).count();
        assert_eq!(late as u64, link.stats().reordered);
        assert!((400..=600).contains(&late), "seed {seed}: {late}");
        assert!(!numbers(&arrived).is_sorted());
    }
}

#[test]
fn loss_takes_the_share_asked_for() {
    for seed in 0..10 {
        let mut link = Link::new(LinkConfig::default().loss(0.1), seed);
        let arrived = run(&mut link, 20_000, 100, 10);
        assert!(numbers(&arrived).is_sorted());
        assert!((1_800..=2_200).contains(&link.stats().lost), "seed {seed}: {}", link.stats().lost);
    }
}

#[test]
fn burst_loss_takes_its_share_in_spells_of_its_length() {
    for seed in 0..10 {
        let mut link = Link::new(LinkConfig::default().burst(BurstLoss::average(0.1, 8.0)), seed);
        let arrived = numbers(&run(&mut link, 50_000, 100, 10));
        let lost = link.stats().lost;
        let spells = arrived.windows(2).filter(|pair| pair[1] - pair[0] > 1).count() as u64;
        assert!((4_000..=6_000).contains(&lost), "seed {seed}: {lost} lost");
        let mean = lost as f64 / spells as f64;
        assert!((7.0..=9.0).contains(&mean), "seed {seed}: spells of {mean}");
    }
}

#[test]
fn duplicates_come_in_the_share_asked_for() {
    for seed in 0..10 {
        let mut link = Link::new(LinkConfig::default().delay_ms(5).duplicate(0.05), seed);
        let mut arrived = numbers(&run(&mut link, 10_000, 100, 10));
        assert!((400..=600).contains(&link.stats().duplicated), "seed {seed}: {:?}", link.stats());
        assert_eq!(arrived.len() as u64, 10_000 + link.stats().duplicated);
        assert!(arrived.is_sorted());
        arrived.dedup();
        assert_eq!(arrived.len(), 10_000);
    }
}

#[test]
fn the_rate_limit_is_kept_and_used() {
    let config = LinkConfig::default().rate_bps(1_000_000).queue_ms(100);
    let mut link = Link::new(config, 1);
    // 972 + 28 bytes each 4 ms: twice what the line carries.
    let arrived = run(&mut link, 2_500, 4_000, 972);
    for pair in arrived.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 8_000, "{pair:?}");
    }
    let in_ten_seconds = arrived.iter().filter(|(at, _)| *at <= 10_000_000).count();
    assert_eq!(in_ten_seconds, 1_250);
}

#[test]
fn a_queue_bound_in_time_bounds_the_wait() {
    let config = LinkConfig::default().rate_bps(1_000_000).queue_ms(100);
    let mut link = Link::new(config, 1);
    let arrived = run(&mut link, 2_500, 4_000, 972);
    let waits_us: Vec<u64> = arrived.iter().map(|(at, n)| at - u64::from(*n) * 4_000 - 8_000).collect();
    assert!(waits_us.iter().all(|us| *us <= 100_000));
    assert!(waits_us.iter().any(|us| *us > 90_000), "the queue was never full");
    assert!(link.stats().queue_dropped > 1_000);
}

#[test]
fn a_queue_bound_in_bytes_drops_the_tail() {
    let config = LinkConfig::default().rate_bps(1_000_000).queue_bytes(3_000);
    let mut link = Link::new(config, 1);
    // At once: one goes on the line, three wait, the rest is dropped.
    assert_eq!(numbers(&run(&mut link, 10, 0, 972)), [0, 1, 2, 3]);
    assert_eq!(link.stats().queue_dropped, 6);
}

#[test]
fn an_idle_line_takes_a_datagram_larger_than_the_queue() {
    let mut link = Link::new(LinkConfig::default().rate_bps(1_000_000).queue_bytes(0), 1);
    assert_eq!(run(&mut link, 2, 20_000, 972), [(8_000, 0), (28_000, 1)]);
}

#[test]
fn what_was_lost_has_used_its_share_of_the_rate() {
    let mut link = Link::new(LinkConfig::default().rate_bps(1_000_000).loss(0.5).queue_ms(3_600_000), 3);
    let arrived = run(&mut link, 100, 0, 972);
    assert!(arrived.iter().all(|(at, n)| *at == u64::from(n + 1) * 8_000));
}

#[test]
fn a_new_rate_holds_for_what_already_waits() {
    let mut link = Link::new(LinkConfig::default().rate_bps(1_000_000), 1);
    for number in [1_u8, 2, 3] {
        link.send(0, vec![number; 972]);
    }
    // Half of the first has gone: the rest takes ten times as long, and the others with it.
    link.set_config(4_000, LinkConfig::default().rate_bps(100_000));
    assert_eq!(link.poll(43_999), None);
    assert_eq!(link.poll(44_000), Some(vec![1; 972]));
    assert_eq!(link.next_at(), Some(124_000));
    // Without a rate, all of it is through at once.
    link.set_config(50_000, LinkConfig::default());
    assert_eq!(link.poll(50_000), Some(vec![2; 972]));
    assert_eq!(link.poll(50_000), Some(vec![3; 972]));
}

#[test]
fn a_shorter_delay_does_not_let_later_ones_overtake() {
    let mut link = Link::new(LinkConfig::default().delay_ms(50), 1);
    link.send(0, vec![1]);
    link.set_config(1_000, LinkConfig::default());
    link.send(1_000, vec![2]);
    assert_eq!(link.poll(49_999), None);
    assert_eq!(link.poll(50_000), Some(vec![1]));
    assert_eq!(link.poll(50_000), Some(vec![2]));
}

#[test]
fn a_blocked_line_loses_everything_until_it_is_open_again() {
    let mut link = Link::new(LinkConfig::default(), 1);
    link.set_config(0, LinkConfig::default().blocked(true));
    link.send(0, vec![1]);
    assert_eq!((link.next_at(), link.stats().lost), (None, 1));
    link.set_config(10, LinkConfig::default());
    link.send(10, vec![2]);
    assert_eq!(link.poll(10), Some(vec![2]));
}

#[test]
fn the_same_seed_gives_the_same_run_however_often_it_is_polled() {
    let config = LinkConfig::default()
        .delay_ms(20)
        .jitter_ms(10)
        .reorder(0.02, 7)
        .loss(0.05)
        .burst(BurstLoss::average(0.05, 4.0))
        .duplicate(0.02)
        .rate_bps(2_000_000);
    let often = numbers(&run(&mut Link::new(config, 42), 2_000, 3_000, 900));
    let mut seldom = Vec::new();
    let mut link = Link::new(config, 42);
    for number in 0..2_000_u32 {
        let mut payload = vec![0; 900];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        link.send(u64::from(number) * 3_000, payload);
    }
    while let Some(payload) = link.poll(u64::MAX) {
        seldom.push(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]));
    }
    assert_eq!(often, seldom);
    assert_ne!(often, numbers(&run(&mut Link::new(config, 43), 2_000, 3_000, 900)));
}

#[test]
fn switching_one_impairment_on_leaves_the_losses_of_the_seed_as_they_were() {
    let mut plain = numbers(&run(&mut Link::new(LinkConfig::default().loss(0.1), 9), 5_000, 100, 10));
    let jittered = LinkConfig::default().loss(0.1).jitter_ms(30).duplicate(0.1);
    let mut other = numbers(&run(&mut Link::new(jittered, 9), 5_000, 100, 10));
    plain.dedup();
    other.dedup();
    assert_eq!(plain, other);
}

#[test]
#[should_panic(expected = "time ran backwards")]
fn time_running_backwards_is_a_bug_of_the_caller() {
    let mut link = Link::new(LinkConfig::default(), 1);
    link.send(10, vec![1]);
    link.send(9, vec![2]);
}

#[test]
fn a_configuration_is_read_from_text_and_changes_only_what_it_names() {
    let read: LinkConfig =
        "loss=0.03,delay_ms=20 jitter_ms=2.5,rate_bps=600000,queue_bytes=9000".parse().unwrap();
    let mut expected = LinkConfig::default().loss(0.03).delay_ms(20).rate_bps(600_000).queue_bytes(9_000);
    expected.jitter_us = 2_500;
    assert_eq!(read, expected);

    let changed = read.with_text("loss=0 burst_enter=0.01,burst_leave=0.2 queue_ms=50,rate_bps=0").unwrap();
    assert_eq!((changed.loss, changed.delay_us, changed.rate_bps), (0.0, 20_000, None));
    assert_eq!(changed.queue, QueueBound::Micros(50_000));
    assert_eq!(changed.burst, Some(BurstLoss { enter: 0.01, leave: 0.2, loss: 1.0 }));
    assert_eq!(read.with_text(""), Ok(read));
}

#[test]
fn a_wrong_configuration_is_an_error_that_names_what_is_wrong() {
    let error = |text: &str| text.parse::<LinkConfig>().unwrap_err();
    assert_eq!(error("loss"), ConfigError::NoValue("loss".into()));
    assert_eq!(error("lossy=1"), ConfigError::UnknownKey("lossy".into()));
    for text in ["loss=1.1", "loss=-0.1", "loss=NaN", "loss=", "delay_ms=-1", "delay_ms=1e9", "rate_bps=1.5"]
    {
        assert!(matches!(error(text), ConfigError::BadValue { .. }), "{text}");
    }
}

#[test]
fn what_waits_is_told_as_time_and_as_bytes() {
    let config = LinkConfig { overhead_bytes: 0, ..LinkConfig::default().rate_bps(80_000).queue_ms(1_000) };
    let mut link = Link::new(config, 1);
    assert_eq!((link.queue_delay_us(0), link.queue_bytes()), (0, 0));
    for _ in 0..3 {
        link.send(0, vec![0; 100]);
    }
    assert_eq!((link.queue_delay_us(0), link.queue_bytes()), (30_000, 300));
    assert!(link.poll(15_000).is_some());
    assert_eq!((link.queue_delay_us(15_000), link.queue_bytes()), (15_000, 200));
}
