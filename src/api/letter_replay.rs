//! Replay of dead letters: the preview, and what was done. Both count what the rules of the domain answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::dead_letters::Filter;
use super::error::ApiError;
use super::jobs::reason_of;
use super::letter_choice;
use super::preview::Asker;
use super::request::Json;
use crate::domain::command::{Choice, Command, ReplayRun, Reply};
use crate::domain::dead_letter::Fingerprint;
use crate::domain::rejection::{Code, Rejection};
use crate::domain::{JobId, RunId};

/// Which letters to replay: exactly one of `ids`, `filter`, `cluster`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"cluster": "0123456789abcdef", "dryRun": true}))]
pub struct ReplayLetters {
    #[schema(value_type = Option<String>)]
    pub cluster: Option<Fingerprint>,
    /// True: nothing is done, the answer tells what would be.
    #[serde(default)]
    dry_run: bool,
    pub filter: Option<Filter>,
    /// At most 1,000.
    #[schema(value_type = Option<Vec<String>>)]
    pub ids: Option<Vec<JobId>>,
    /// Recorded with it.
    reason: Option<String>,
}

/// What is, or would be, replayed.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// How many jobs are done again for them: one for a letter that stands alone; of a run all that did not complete and
    /// what needs them.
    again: u64,
    /// How many letters are resolved. Of a run these are all of its open ones, whichever were chosen.
    count: u64,
    /// The letters, in a preview; else the new jobs.
    #[schema(value_type = Vec<String>)]
    jobs: Vec<JobId>,
    /// There are letters that nothing of this resolves or refuses: ask again.
    more: bool,
    /// Letters that were not replayed, and why: also those that somebody else saw to first.
    refused: Vec<RefusedLetter>,
    /// Jobs of runs are replayed by one replay of their run, which does everything anew that did not complete, whatever
    /// letters were chosen: the runs, in a preview; else the new runs.
    #[schema(value_type = Vec<String>)]
    runs: Vec<RunId>,
}

/// A letter that was not replayed.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedLetter {
    code: String,
    detail: String,
    /// The letter, or the run that it belongs to.
    id: String,
}

/// Replays dead letters: jobs that stand alone as new jobs, jobs of a run by one replay of the run.
#[utoipa::path(post, path = "/api/v1/dead-letters/replay", tag = "dead letters", request_body = ReplayLetters,
    responses((status = 200, body = Replayed)))]
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<ReplayLetters>,
) -> Result<Answer<Replayed>, ApiError> {
    let reason = reason_of(body.reason.clone(), &headers);
    let chosen = letter_choice::chosen(&api, &caller, &body).await?;
    let mut answer = Replayed {
        more: chosen.more,
        ..Replayed::default()
    };
    let jobs = chosen.alone.into_iter().map(|job| {
        let reason = reason.clone();
        (Meant::Job(job), Command::ReplayDeadLetter { job, reason })
    });
    let runs = chosen.runs.into_iter().map(|(run, letters)| {
        let replay = ReplayRun {
            choice: Choice::Letters(letters.clone()),
            idempotency: None,
            run,
        };
        (Meant::Run(run, letters), Command::ReplayRun(Box::new(replay)))
    });
    let asked: Vec<(Meant, Command)> = jobs.chain(runs).collect();
    if body.dry_run {
        return Ok(Answer(preview(&api, &caller, asked, answer).await?));
    }
    let (meant, commands): (Vec<Meant>, Vec<Command>) = asked.into_iter().unzip();
    if commands.is_empty() {
        return Ok(Answer(answer));
    }
    let done = api
        .engine()
        .trip(caller.tenant()?, &caller.actor(), commands, None)
        .await?;
    for (meant, result) in meant.iter().zip(done.results) {
        match result.map(|receipt| receipt.reply) {
            Err(rejection) => answer.refuse(meant, rejection),
            Ok(Reply::Job(job)) => answer.take_job(job.id),
            Ok(Reply::LettersReplayed { run, letters, again }) => {
                answer.take_run(run, meant, &letters, again);
            }
            Ok(_) => return Err(ApiError::internal("the writer answered something else")),
        }
    }
    Ok(Answer(answer))
}

/// What one command of a replay is about.
#[derive(Debug, Clone)]
enum Meant {
    Job(JobId),
    /// A run, and the letters of it that were chosen.
    Run(RunId, Vec<JobId>),
}

impl Replayed {
    fn take_job(&mut self, job: JobId) {
        self.again += 1;
        self.count += 1;
        self.jobs.push(job);
    }

    /// Counts a run with every letter that it resolves. Chosen ones that it does not were seen to by somebody else.
    fn take_run(&mut self, shown: RunId, meant: &Meant, resolved: &[JobId], again: u64) {
        self.again += again;
        self.count += resolved.len() as u64;
        self.runs.push(shown);
        let Meant::Run(_, chosen) = meant else {
            return;
        };
        let resolved: BTreeSet<&JobId> = resolved.iter().collect();
        for letter in chosen.iter().filter(|letter| !resolved.contains(letter)) {
            let rejection = Rejection::new(Code::IllegalTransition, "the dead letter is resolved");
            self.refuse(&Meant::Job(*letter), rejection);
        }
    }

    fn refuse(&mut self, meant: &Meant, rejection: Rejection) {
        self.refused.push(RefusedLetter {
            code: rejection.code.as_str().to_owned(),
            detail: rejection.detail,
            id: match meant {
                Meant::Job(job) => job.to_string(),
                Meant::Run(run, _) => run.to_string(),
            },
        });
    }
}

/// What would become of each, told by the rules that decide it.
async fn preview(
    api: &Arc<Api>,
    caller: &Caller,
    asked: Vec<(Meant, Command)>,
    mut answer: Replayed,
) -> Result<Replayed, ApiError> {
    let asker = Asker::new(api, caller.actor());
    let read = api.read(caller.tenant()?, move |reading| {
        for (meant, command) in asked {
            match (asker.reply(reading, &command)?, &meant) {
                (Err(rejection), _) => answer.refuse(&meant, rejection),
                (Ok(Reply::LettersReplayed { letters, again, .. }), Meant::Run(run, _)) => {
                    answer.take_run(*run, &meant, &letters, again);
                }
                (Ok(_), Meant::Job(job)) => answer.take_job(*job),
                (Ok(_), Meant::Run(..)) => return Err(ApiError::internal("a rule answered something else")),
            }
        }
        Ok(answer)
    });
    read.await
}
