//! A program that is run for each thing to tell.

use super::Notice;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The longest a program may run.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    program: String,
    args: Vec<String>,
}

impl Exec {
    /// The first word is the program, the others its arguments; no shell reads them. `None` without a program.
    pub fn new(words: &[String]) -> Option<Exec> {
        let (program, args) = words.split_first().filter(|(program, _)| !program.is_empty())?;
        Some(Exec { program: program.clone(), args: args.to_vec() })
    }

    /// Runs it: the body on its standard input, the words in its environment.
    ///
    /// # Errors
    /// When it cannot be run, ends with anything but 0, or takes too long; it is killed then.
    pub(super) async fn run(&self, notice: &Notice) -> Result<(), String> {
        let named = |e: std::io::Error| format!("{}: {e}", self.program);
        let variables = notice.variables.iter().map(|(name, value)| (name, plain(value)));
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(named)?;
        let stdin = child.stdin.take();
        let run = async {
            if let Some(mut stdin) = stdin {
                // A program need not read it.
                let _ = stdin.write_all(notice.body.as_bytes()).await;
            }
            child.wait().await
        };
        match tokio::time::timeout(PATIENCE, run).await {
            Ok(ended) => match ended.map_err(named)? {
                status if status.success() => Ok(()),
                status => Err(format!("{} ended with {status}", self.program)),
            },
            Err(_) => Err(format!("{} did not end in {} s and was killed", self.program, PATIENCE.as_secs())),
        }
    }
}

/// As an environment variable can hold it and a terminal can show it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "1".into(),
            kind: "test".into(),
            body: "{\"a\":1}".into(),
            variables: vec![("WORDS", "a\0b\nc".into())],
        }
    }

    fn shell(script: &str) -> Exec {
        Exec::new(&["sh".into(), "-c".into(), script.into()]).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_given_the_body_and_the_words_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        shell(&format!("{{ cat; echo \" $WORDS\"; }} >'{}'", file.display())).run(&notice()).await.unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"a\":1} a b c\n");
        assert!(shell("exit 3").run(&notice()).await.unwrap_err().contains('3'));
        let missing = Exec::new(&["/no/such/program".into()]).unwrap();
        assert!(missing.run(&notice()).await.unwrap_err().contains("/no/such/program"));
        assert!(Exec::new(&[]).is_none() && Exec::new(&[String::new()]).is_none());
    }
}
