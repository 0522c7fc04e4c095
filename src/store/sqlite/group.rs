//! Group commit: writes that come while one is on its way to the disk go there together next.

use std::future::Future;
use std::pin::Pin;

use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use super::{BEGIN_WRITE, Connection, Result, unavailable};

/// Writes in one transaction. The first of them waits for the last.
const GROUP_MAX: usize = 64;

pub(in crate::store) type Working<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// What the writer is given.
pub(super) enum Queued {
    Job(Box<dyn Write>),
    /// The last: nothing is taken after it.
    Close(oneshot::Sender<()>),
}

/// One caller's work.
pub(super) trait Write: Send {
    /// Does it; whether it may stay.
    fn carry_out<'c>(&'c mut self, connection: &'c mut Connection) -> Working<'c, bool>;

    /// Tells the caller. `committed` is how it went for the transaction.
    fn answer(self: Box<Self>, committed: Result<()>);
}

pub(super) struct Job<T, W> {
    work: Option<W>,
    done: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Job<T, W> {
    pub(super) fn new(work: W, reply: oneshot::Sender<Result<T>>) -> Self {
        Self { work: Some(work), done: None, reply }
    }
}

impl<T, W> Write for Job<T, W>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut Connection) -> Working<'c, Result<T>> + Send + 'static,
{
    fn carry_out<'c>(&'c mut self, connection: &'c mut Connection) -> Working<'c, bool> {
        let work = self.work.take().expect("a job is carried out once");
        Box::pin(async move {
            let done = work(connection).await;
            let stays = done.is_ok();
            self.done = Some(done);
            stays
        })
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let answer = match (self.done, committed) {
            // Refused for a reason of its own: that holds however it went for the others.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(done)), Ok(())) => Ok(done),
            (None, Ok(())) => Err(unavailable(sqlx::Error::WorkerCrashed)),
        };
        // Nobody waits any more: it is written all the same.
        let _ = self.reply.send(answer);
    }
}

/// The one writer.
pub(super) struct Group {
    pool: SqlitePool,
    queue: mpsc::Receiver<Queued>,
}

impl Group {
    pub(super) fn new(pool: SqlitePool, queue: mpsc::Receiver<Queued>) -> Self {
        Self { pool, queue }
    }

    /// Writes until it is told to close, or nobody can write any more.
    pub(super) async fn run(mut self) {
        let mut told = None;
        while told.is_none() {
            let Some(first) = self.queue.recv().await else { break };
            let mut jobs = Vec::new();
            let mut next = Some(first);
            while let Some(queued) = next.take() {
                match queued {
                    Queued::Job(job) => jobs.push(job),
                    Queued::Close(done) => {
                        told = Some(done);
                        break;
                    }
                }
                if jobs.len() < GROUP_MAX {
                    next = self.queue.try_recv().ok();
                }
            }
            self.write(jobs).await;
        }
        self.pool.close().await;
        if let Some(done) = told {
            // Who asked may have gone.
            let _ = done.send(());
        }
    }

    async fn write(&self, mut jobs: Vec<Box<dyn Write>>) {
        let committed = if jobs.is_empty() { Ok(()) } else { self.transact(&mut jobs).await };
        for job in jobs {
            job.answer(committed.clone());
        }
    }

    async fn transact(&self, jobs: &mut [Box<dyn Write>]) -> Result<()> {
        // Dropped without a commit, the transaction is rolled back.
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await.map_err(unavailable)?;
        if let [only] = jobs {
            if only.carry_out(&mut transaction).await {
                return transaction.commit().await.map_err(unavailable);
            }
            return transaction.rollback().await.map_err(unavailable);
        }
        for job in jobs {
            statement(&mut transaction, "SAVEPOINT job").await?;
            if !job.carry_out(&mut transaction).await {
                statement(&mut transaction, "ROLLBACK TO job").await?;
            }
            statement(&mut transaction, "RELEASE job").await?;
        }
        transaction.commit().await.map_err(unavailable)
    }
}

async fn statement(connection: &mut Connection, statement: &'static str) -> Result<()> {
    sqlx::query(statement).execute(connection).await.map(drop).map_err(unavailable)
}
