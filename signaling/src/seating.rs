//! Who sits in which seat of one viewer. Pure: it decides, and somebody else tells the SFU.
//!
//! People fill free seats in the order in which they joined; once seated, nobody is moved by others coming or going.

/// One seat. `S` names the seat, `P` who may sit in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat<S, P> {
    pub(crate) id: S,
    pub(crate) screen: bool,
    pub(crate) occupant: Option<P>,
}

/// Empties `viewer`'s seats of those who are not in `present`, then fills free seats with those of `present` who have none.
/// Nobody sits in their own.
pub(crate) fn refill<S, P: Copy + PartialEq>(
    seats: &mut [Seat<S, P>],
    screen: bool,
    present: &[P],
    viewer: P,
) {
    let ours = |seat: &&mut Seat<S, P>| seat.screen == screen;
    for seat in seats.iter_mut().filter(ours) {
        seat.occupant = seat.occupant.filter(|occupant| *occupant != viewer && present.contains(occupant));
    }
    let mut free = seats.iter_mut().filter(ours).filter(|seat| seat.occupant.is_none()).count();
    for &person in present.iter().filter(|&&person| person != viewer) {
        if free == 0 {
            return;
        }
        let mut ours = seats.iter_mut().filter(|seat| seat.screen == screen);
        if ours.any(|seat| seat.occupant == Some(person)) {
            continue;
        }
        let vacant = seats.iter_mut().find(|seat| seat.screen == screen && seat.occupant.is_none());
        let Some(vacant) = vacant else { return };
        vacant.occupant = Some(person);
        free -= 1;
    }
}

/// Puts `occupant` in a seat. Who sat there takes the seat the newcomer leaves, if there is one.
///
/// Returns whether there is such a seat.
pub(crate) fn place<S: PartialEq, P: Copy + PartialEq>(
    seats: &mut [Seat<S, P>],
    id: &S,
    occupant: Option<P>,
) -> bool {
    let Some(to) = seats.iter().position(|seat| seat.id == *id) else { return false };
    let screen = seats[to].screen;
    let from = occupant.and_then(|person| {
        seats.iter().position(|seat| seat.screen == screen && seat.occupant == Some(person))
    });
    let evicted = seats[to].occupant;
    if let Some(from) = from {
        seats[from].occupant = evicted;
    }
    seats[to].occupant = occupant;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(occupants: &[Option<char>]) -> Vec<Seat<usize, char>> {
        occupants.iter().enumerate().map(|(id, &occupant)| Seat { id, screen: false, occupant }).collect()
    }

    fn occupants(seats: &[Seat<usize, char>]) -> Vec<Option<char>> {
        seats.iter().map(|seat| seat.occupant).collect()
    }

    #[test]
    fn seats_fill_in_join_order() {
        let mut seats = people(&[None, None]);
        refill(&mut seats, false, &['a', 'b', 'c'], 'v');
        assert_eq!(occupants(&seats), [Some('a'), Some('b')]);
    }

    #[test]
    fn nobody_sits_in_their_own_seats() {
        let mut seats = people(&[Some('v'), None, None]);
        refill(&mut seats, false, &['v', 'a'], 'v');
        assert_eq!(occupants(&seats), [Some('a'), None, None]);
    }

    #[test]
    fn a_leaver_is_replaced_and_nobody_else_moves() {
        let mut seats = people(&[Some('a'), Some('b'), Some('c')]);
        refill(&mut seats, false, &['b', 'c', 'd'], 'v');
        assert_eq!(occupants(&seats), [Some('d'), Some('b'), Some('c')]);
    }

    #[test]
    fn placing_somebody_seated_swaps_the_two() {
        let mut seats = people(&[Some('a'), Some('b')]);
        assert!(place(&mut seats, &0, Some('b')));
        assert_eq!(occupants(&seats), [Some('b'), Some('a')]);
        assert!(place(&mut seats, &1, Some('c')));
        assert_eq!(occupants(&seats), [Some('b'), Some('c')]);
        assert!(place(&mut seats, &1, Some('c')));
        assert_eq!(occupants(&seats), [Some('b'), Some('c')]);
        assert!(place(&mut seats, &0, None));
        assert_eq!(occupants(&seats), [None, Some('c')]);
        assert!(!place(&mut seats, &2, Some('a')));
    }

    #[test]
    fn screens_and_people_do_not_mix() {
        let mut seats = people(&[None]);
        seats.push(Seat { id: 1, screen: true, occupant: None });
        refill(&mut seats, true, &['a'], 'v');
        assert_eq!(occupants(&seats), [None, Some('a')]);
        refill(&mut seats, false, &['a'], 'v');
        assert_eq!(occupants(&seats), [Some('a'), Some('a')]);
        refill(&mut seats, true, &[], 'v');
        assert_eq!(occupants(&seats), [Some('a'), None]);
    }
}
