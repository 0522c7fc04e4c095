//! How the connections of those in live sessions were.

use async_trait::async_trait;
use sqlx::QueryBuilder;
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::wire::{QualityCode, QualityLevel, QualityReason};

use super::row::{column, optional_small, parsed, small, time};
use super::{Connection, Driver, Handle, Result, Row, damaged, refused, unavailable};
use crate::store::Page;
use crate::store::quality::{KEPT_FOR, KeptStep, QualityStore, StepKey};

/// Rows of one statement: a database takes so many parameters and no more.
const ROWS_MAX: usize = 1_000;

#[async_trait]
impl QualityStore for Handle {
    async fn keep_steps(&self, session: SessionId, steps: &[KeptStep]) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let steps = steps.to_vec();
        self.write(move |connection| Box::pin(async move { keep(connection, session, &steps).await })).await
    }

    async fn steps(
        &self,
        session: SessionId,
        participant: Option<ParticipantId>,
        page: Page<StepKey>,
    ) -> Result<Vec<KeptStep>> {
        let mut query: QueryBuilder<Driver> =
            QueryBuilder::new("SELECT * FROM quality_step WHERE session = ");
        query.push_bind(session.to_string());
        if let Some(participant) = participant {
            query.push(" AND participant = ").push_bind(participant.to_string());
        }
        if let Some(StepKey { at, participant }) = page.after {
            query.push(" AND (at, participant) > (").push_bind(at.as_millisecond());
            query.push(", ").push_bind(participant.to_string()).push(")");
        }
        query.push(" ORDER BY at, participant LIMIT ").push_bind(i64::from(page.limit));
        let rows = query.build().fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter().map(read_step).collect()
    }

    async fn last_steps(&self, session: SessionId, limit: u32) -> Result<Vec<KeptStep>> {
        let rows = sqlx::query(
            "SELECT * FROM quality_step WHERE session = $1 ORDER BY at DESC, participant DESC LIMIT $2",
        )
        .bind(session.to_string())
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().rev().map(read_step).collect()
    }
}

async fn keep(connection: &mut Connection, session: SessionId, steps: &[KeptStep]) -> Result<()> {
    for rows in steps.chunks(ROWS_MAX) {
        let mut insert: QueryBuilder<Driver> = QueryBuilder::new(
            "INSERT INTO quality_step (session, at, participant, level, reason, reason_value, \
             uplink_loss_permille, downlink_loss_permille, uplink_jitter_ms, rtt_ms, uplink_kbps, \
             downlink_kbps, downlink_estimate_kbps, video_height) ",
        );
        insert.push_values(rows, |mut row, step| {
            row.push_bind(session.to_string())
                .push_bind(step.at.as_millisecond())
                .push_bind(step.participant.to_string())
                .push_bind(step.level.as_str())
                .push_bind(step.reason.map(|reason| reason.code.as_str()))
                .push_bind(step.reason.map(|reason| i64::from(reason.value)))
                .push_bind(step.uplink_loss_permille.map(i64::from))
                .push_bind(step.downlink_loss_permille.map(i64::from))
                .push_bind(step.uplink_jitter_ms.map(i64::from))
                .push_bind(step.rtt_ms.map(i64::from))
                .push_bind(i64::from(step.uplink_kbps))
                .push_bind(i64::from(step.downlink_kbps))
                .push_bind(step.downlink_estimate_kbps.map(i64::from))
                .push_bind(step.video_height.map(i64::from));
        });
        // The answer to a commit was lost, and it was written all the same.
        insert.push(" ON CONFLICT (session, at, participant) DO NOTHING");
        let written = insert.build().execute(&mut *connection).await;
        written.map_err(|error| refused(error, "the step", "the session"))?;
    }
    let newest = steps.iter().map(|step| step.at).max().and_then(|at| at.checked_sub(KEPT_FOR).ok());
    let Some(oldest) = newest else { return Ok(()) };
    sqlx::query("DELETE FROM quality_step WHERE session = $1 AND at < $2")
        .bind(session.to_string())
        .bind(oldest.as_millisecond())
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

fn read_step(row: &Row) -> Result<KeptStep> {
    let level: String = column(row, "level")?;
    let code: Option<String> = column(row, "reason")?;
    let code = code.map(|code| {
        let known = QualityCode::ALL.into_iter().find(|known| known.as_str() == code);
        known.ok_or_else(|| damaged("reason"))
    });
    let reason = match code.transpose()? {
        None => None,
        Some(code) => Some(QualityReason { code, value: small(row, "reason_value")? }),
    };
    Ok(KeptStep {
        at: time(row, "at")?,
        participant: parsed(row, "participant")?,
        level: QualityLevel::ALL
            .into_iter()
            .find(|known| known.as_str() == level)
            .ok_or_else(|| damaged("level"))?,
        reason,
        uplink_loss_permille: optional_small(row, "uplink_loss_permille")?,
        downlink_loss_permille: optional_small(row, "downlink_loss_permille")?,
        uplink_jitter_ms: optional_small(row, "uplink_jitter_ms")?,
        rtt_ms: optional_small(row, "rtt_ms")?,
        uplink_kbps: small(row, "uplink_kbps")?,
        downlink_kbps: small(row, "downlink_kbps")?,
        downlink_estimate_kbps: optional_small(row, "downlink_estimate_kbps")?,
        video_height: optional_small(row, "video_height")?,
    })
}
