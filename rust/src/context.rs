//! What a task knows of itself.

use crate::attributes;
use crate::error::Error;
use crate::messages::{Call, CallInfo, Kind, append_bounded};
use crate::workspace::Workspace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::path::PathBuf;

/// The task that runs: what the client asked for, and what is left for it beside the outputs.
#[derive(Debug)]
pub struct Context<'a> {
    kind: &'a Kind,
    call: &'a Call<'a>,
    workspace: &'a Workspace,
    pub(crate) info: CallInfo,
    debug_is_full: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(kind: &'a Kind, call: &'a Call<'a>, workspace: &'a Workspace) -> Self {
        Self { kind, call, workspace, info: CallInfo::default(), debug_is_full: false }
    }

    /// EXECUTOR/METHOD.
    pub fn task_type(&self) -> &'a str {
        &self.kind.task_type
    }

    /// The name that the client gave the task for people; may be empty.
    pub fn name(&self) -> &'a str {
        &self.kind.name
    }

    /// How many cpus the task has.
    pub fn cpus(&self) -> u32 {
        self.kind.cpus
    }

    /// The number of the session.
    pub fn session_id(&self) -> u32 {
        self.call.task.0
    }

    /// The number of the task in its session.
    pub fn task_id(&self) -> u32 {
        self.call.task.1
    }

    /// The number of the first output object in its session; the others follow.
    pub fn first_output_id(&self) -> u32 {
        self.call.extra.outputs
    }

    /// The number of the governor.
    pub fn governor(&self) -> u32 {
        self.call.extra.governor
    }

    /// The configuration as the client encoded it (`Task(config=...)`, MessagePack); empty if there is none.
    pub fn config_bytes(&self) -> &'a [u8] {
        self.call.config.unwrap_or(&self.kind.config)
    }

    /// The configuration. If there is none, a nil is read instead, which is `None` for an `Option<T>`.
    ///
    /// ```
    /// # use rain_task::{Executor, register_task};
    /// #[derive(serde::Deserialize)]
    /// struct Blur {
    ///     sigma: f64,
    /// }
    ///
    /// # let mut executor = Executor::new("images");
    /// register_task!(executor, "blur", [O], |ctx, output| {
    ///     let blur: Blur = ctx.config()?;
    ///     output.set_bytes(format!("sigma is {}", blur.sigma));
    ///     Ok(())
    /// });
    /// # #[derive(serde::Serialize)]
    /// # struct Config { sigma: f64 }
    /// # let answer = executor.trial("blur").config(&Config { sigma: 2.5 }).output("blurred").run()?;
    /// # assert_eq!(answer.outputs[0].text(), "sigma is 2.5");
    /// # assert!(executor.trial("blur").output("blurred").run().unwrap_err().to_string().contains("configuration"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        const NIL: &[u8] = &[0xc0];
        let bytes = self.config_bytes();
        rmp_serde::from_slice(if bytes.is_empty() { NIL } else { bytes })
            .map_err(|error| Error::Config(error.to_string()))
    }

    /// `spec.user` of the task as JSON text.
    pub fn user_json(&self) -> Option<&'a str> {
        self.call.extra.user
    }

    /// `spec.user` of the task.
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn user<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.user_json().map(attributes::from_json).transpose()
    }

    /// Sets `info.user` of the task, which the client can read, to anything whose JSON form is an object: a structure, a
    /// map, `serde_json::json!({...})`.
    ///
    /// # Errors
    /// If its JSON form is anything else.
    pub fn set_user<T: Serialize + ?Sized>(&mut self, user: &T) -> Result<(), Error> {
        self.info.user = Some(attributes::to_json(user)?);
        Ok(())
    }

    /// Adds a line to the debug messages, which the client can read. A task may leave 1 MiB of them; a note at their end
    /// says when there were more.
    pub fn debug(&mut self, message: impl Display) {
        if self.debug_is_full {
            return;
        }
        let line = match &self.info.debug {
            Some(_) => format!("\n{message}"),
            None => message.to_string(),
        };
        let text = self.info.debug.get_or_insert_default();
        if !append_bounded(text, &line) {
            text.push_str("\n[further debug messages are left out]");
            self.debug_is_full = true;
        }
    }

    /// A path for a file or directory of this task, which nothing has yet; what is there is removed after the task
    /// unless it becomes an output.
    pub fn new_path(&self) -> PathBuf {
        self.workspace.new_path()
    }
}
