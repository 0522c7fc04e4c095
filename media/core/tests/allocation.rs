//! No allocation per forwarded packet: counted by the allocator itself.
//!
//! Nor a lock: the crate's `clippy.toml` bans every type that has one.

mod counting;

use std::time::Duration;

use vestibule_media_core::api::{Event, Input, Output};
use vestibule_sim::{ClientConfig, World};

#[test]
fn forwarding_allocates_nothing_per_packet() {
    let mut world = World::new(1);
    for _ in 0..6 {
        world.join(ClientConfig { seats: 5, ..ClientConfig::default() });
    }
    for who in 0..6 {
        for (seat, whom) in (0..6).filter(|whom| *whom != who).enumerate() {
            world.seat(who, seat as u16, Some(whom));
        }
    }
    // Rings grow to the bit rate first.
    world.run(Duration::from_secs(5));

    // Lists of missing packets take their memory at the first loss of each stream, what waits for a pacer and what is in
    // flight at the first keyframes that wait.
    conversation(&mut world, Duration::from_secs(20));
    let before = *world.sfu.counters();
    let allocations = conversation(&mut world, Duration::from_secs(4));
    let forwarded = world.sfu.counters().rtp_out - before.rtp_out;
    vestibule_sim::report!("{allocations} allocations for {forwarded} forwarded packets");
    let after = *world.sfu.counters();
    assert!(forwarded > 20_000, "{forwarded}");
    assert!(
        after.nack_out > before.nack_out
            && after.twcc_out > before.twcc_out
            && after.rtcp_out > before.rtcp_out
    );
    assert_eq!(allocations, 0, "the packet path took memory");
}

/// Everybody's media, NACKs, reports and feedback, each datagram handed over as it was sent, some lost on the way.
/// Gives the allocations of the SFU.
fn conversation(world: &mut World, duration: Duration) -> u64 {
    let mut allocations = 0;
    let mut count = 0_u32;
    for _ in 0..duration.as_millis() {
        world.now = world.now + Duration::from_millis(1);
        let now = world.now;
        let mut datagrams = Vec::new();
        for member in &mut world.members {
            member.client.tick(now);
            let from = member.client.address;
            datagrams.extend(member.client.outbox.drain(..).map(|datagram| (from, datagram)));
        }
        datagrams.retain(|_| {
            count += 1;
            !count.is_multiple_of(97)
        });
        counting::start();
        if world.sfu.poll_timeout().is_some_and(|at| at <= now) {
            world.sfu.handle_input(Input::Timeout, now);
        }
        for (from, bytes) in &mut datagrams {
            world.sfu.handle_input(Input::Datagram { from: *from, bytes }, now);
        }
        // What is told of connections and publishers, once in seconds, is a box or a list each.
        let mut told = 0;
        while let Some(output) = world.sfu.poll_output() {
            allocations += counting::stop();
            match output {
                Output::Transmits(transmits) => transmits.for_each(|transmit| {
                    let to = world.members.iter_mut().find(|member| member.client.address == transmit.to);
                    let client = &mut to.expect("a member").client;
                    transmit.packets().for_each(|packet| client.handle(packet, now));
                }),
                Output::Event(Event::QualityStep { .. } | Event::EncodingsWanted { .. }) => told += 1,
                Output::Event(Event::Quality { .. } | Event::Speaker { .. } | Event::Line { .. }) => {}
                other => panic!("nothing but packets, and how they travel: {other:?}"),
            }
            counting::start();
        }
        allocations += counting::stop();
        allocations -= told;
    }
    allocations
}
