//! A room before there is a session, and no room without one. The backend is a mock: what it is asked is the point.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use vestibule_domain::{
    Actor, BackendRoom, Communication, ConfigValues, PARTICIPANTS_USUAL, ParticipantRole, SessionId,
    TenantId, VideoBackend,
};

use super::{BackendError, Backends, Embedded, Port};
use crate::ids::Ids;
use crate::sessions::{MakeError, Maker, Person, Plan};
use crate::store::{Beside, Loaded, Location, Page, SessionFilter, Store};
use crate::testing::TempDir;
use crate::{sweep, tenants};

/// A backend that does as it is told.
#[derive(Debug, Default)]
struct MockBackend {
    rooms: Mutex<BTreeMap<BackendRoom, Timestamp>>,
    down: Mutex<bool>,
}

impl MockBackend {
    fn rooms(&self) -> Vec<BackendRoom> {
        self.rooms.lock().unwrap().keys().cloned().collect()
    }
}

#[async_trait]
impl Port for MockBackend {
    async fn provision(
        &self,
        _: TenantId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<BackendRoom, BackendError> {
        if *self.down.lock().unwrap() {
            return Err(BackendError::Unavailable(VideoBackend::Embedded));
        }
        let room = BackendRoom::parse(format!("mock-{session}")).unwrap();
        self.rooms.lock().unwrap().insert(room.clone(), now);
        Ok(room)
    }

    async fn release(&self, room: &BackendRoom) -> Result<(), BackendError> {
        self.rooms.lock().unwrap().remove(room);
        Ok(())
    }

    async fn rooms(
        &self,
        then: Timestamp,
        after: Option<&BackendRoom>,
        limit: usize,
    ) -> Result<Vec<BackendRoom>, BackendError> {
        let rooms = self.rooms.lock().unwrap();
        let old =
            rooms.iter().filter(|(room, since)| **since < then && after.is_none_or(|after| *room > after));
        Ok(old.map(|(room, _)| room.clone()).take(limit).collect())
    }
}

struct World {
    folder: TempDir,
    store: Store,
    ids: Ids,
    mock: Arc<MockBackend>,
    backends: Backends,
    tenant: TenantId,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_300_800 + seconds).unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = TempDir::new();
        let ids = Ids::system();
        let location = Location::File(folder.path().join("vestibule.db"));
        let store = Store::open(&location, ids.clone()).await.unwrap();
        let clinic = tenants::of_name(&store, &ids, "Clinic", ConfigValues::default(), at(0)).await.unwrap();
        let mock = Arc::new(MockBackend::default());
        let backends = Backends::default().with(VideoBackend::Embedded, mock.clone());
        Self { folder, store, ids, mock, backends, tenant: clinic.id }
    }

    async fn make(&self, roles: &[ParticipantRole]) -> Result<Loaded, MakeError> {
        let maker = Maker {
            store: &self.store,
            backends: &self.backends,
            ids: &self.ids,
            participants_limit: PARTICIPANTS_USUAL,
        };
        let people = roles.iter().map(|role| Person { role: *role, display_name: None, relationship: None });
        let plan = Plan {
            tenant: self.tenant,
            patient_id: "mrn-1".parse().unwrap(),
            provider_ref: "desk".parse().unwrap(),
            scheduled_start: None,
            scheduled_end: None,
            communication: Communication::Speech,
            people: people.collect(),
        };
        maker.make(plan, &Actor::System, at(1), |_| Ok(Beside::default())).await
    }

    async fn sessions(&self) -> usize {
        let page = Page { after: None, limit: 100 };
        self.store.list_sessions(self.tenant, &SessionFilter::default(), page).await.unwrap().len()
    }

    async fn execute(&self, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("vestibule.db"));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_has_the_room_that_was_provisioned_for_it() {
    let world = World::new().await;
    let made = world.make(&[ParticipantRole::Provider, ParticipantRole::Patient]).await.unwrap();
    assert_eq!(world.mock.rooms(), [made.session.room().clone()]);
    assert_eq!(made.session.backend(), VideoBackend::Embedded);
}

#[tokio::test]
async fn a_backend_that_fails_leaves_no_row() {
    let world = World::new().await;
    *world.mock.down.lock().unwrap() = true;
    let refused = world.make(&[]).await.unwrap_err();
    assert!(matches!(refused, MakeError::Backend(BackendError::Unavailable(_))), "{refused:?}");
    let without = World { backends: Backends::default(), ..world };
    let refused = without.make(&[]).await.unwrap_err();
    assert!(matches!(refused, MakeError::Backend(BackendError::NotSetUp(_))), "{refused:?}");
    assert_eq!(without.sessions().await, 0);
}

#[tokio::test]
async fn a_row_that_cannot_be_written_releases_the_room() {
    let world = World::new().await;
    let refused = world.make(&[ParticipantRole::Patient, ParticipantRole::Patient]).await.unwrap_err();
    assert!(matches!(refused, MakeError::Rejected(_)), "{refused:?}");
    assert_eq!(world.mock.rooms(), []);

    world
        .execute(
            "CREATE TRIGGER full BEFORE INSERT ON virtual_session BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
        .await;
    let refused = world.make(&[]).await.unwrap_err();
    assert!(matches!(refused, MakeError::Store(_)), "{refused:?}");
    assert_eq!((world.mock.rooms().len(), world.sessions().await), (0, 0));
}

#[tokio::test]
async fn a_room_without_a_session_is_found_and_released() {
    let world = World::new().await;
    let kept = world.make(&[]).await.unwrap().session.room().clone();
    // A server that was killed between the room and the row.
    let orphan = world.ids.session(at(0));
    world.mock.provision(world.tenant, orphan, at(2)).await.unwrap();
    let later = |minutes| at(2) + SignedDuration::from_mins(minutes);
    assert_eq!(
        sweep::release_orphans(&world.store, &world.backends, later(10)).await.unwrap(),
        0,
        "too young"
    );
    let released = sweep::release_orphans(&world.store, &world.backends, later(11)).await.unwrap();
    assert_eq!((released, world.mock.rooms()), (1, vec![kept]));
}

#[tokio::test]
async fn the_embedded_sfu_lists_its_rooms_page_by_page() {
    let embedded = Embedded::new(None);
    let ids = Ids::system();
    let tenant = ids.tenant(at(0));
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let session = ids.session(at(0));
        let room = embedded.provision(tenant, session, at(0)).await.unwrap();
        assert_eq!(embedded.provision(tenant, session, at(5)).await.unwrap(), room, "the same one again");
        rooms.push(room);
    }
    rooms.sort();
    assert_eq!(embedded.rooms(at(1), None, 2).await.unwrap(), rooms[..2]);
    assert_eq!(embedded.rooms(at(1), Some(&rooms[1]), 2).await.unwrap(), rooms[2..]);
    assert_eq!(embedded.rooms(at(0), None, 2).await.unwrap(), []);
    embedded.release(&rooms[0]).await.unwrap();
    embedded.release(&rooms[0]).await.unwrap();
    assert_eq!(embedded.rooms(at(1), None, 9).await.unwrap(), rooms[1..]);
}
