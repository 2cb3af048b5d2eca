//! The platform stops, or whoever wanted a command leaves, in the very moment in which the engine makes it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::volumes::Stage;
use super::*;
use crate::base::error::Kind;
use crate::machinery::runtime::fake::{Op, Stall};

const MOMENTS: [Stall; 2] = [Stall::Before, Stall::After];

fn wanted() -> NewCommand {
    NewCommand { words: vec!["work".into()], ..NewCommand::default() }
}

async fn newest(stage: &Stage) -> Command {
    let (app, environment) = (&stage.app, &stage.environment);
    commands(stage.ctx(), &stage.actor, app, environment, 1).await.expect("commands").remove(0)
}

/// Stops the server while a command is being made, and lets the engine go on when it has had time to stop too early.
async fn stopped_in_the_making(server: &Server, at: Stall) {
    let (shutdown, stopped) = (CancellationToken::new(), AtomicBool::new(false));
    let keeper = server.keeper();
    let kept = async {
        keeper.run(shutdown.clone()).await;
        stopped.store(true, Ordering::SeqCst);
    };
    let story = async {
        server.engine.stalled(Op::Run, at, 1).await;
        shutdown.cancel();
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(!stopped.load(Ordering::SeqCst), "it waits for what is being made");
        server.engine.go_on(Op::Run, at);
    };
    tokio::join!(kept, story);
}

#[tokio::test]
async fn what_is_being_made_for_somebodys_hands_has_ended_when_the_platform_has_stopped() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        for at in MOMENTS {
            let server = stage.server.beside(store.clone());
            server.engine.stall(Op::Run, at);
            let (ctx, wanted) = (&server.ctx, wanted());
            let opened = open_command(ctx, &stage.actor, &stage.app, &stage.environment, &wanted);
            let (session, ()) = tokio::join!(opened, stopped_in_the_making(&server, at));
            assert_eq!(server.engine.commands().await.expect("commands"), [], "{at:?}");
            assert_eq!(newest(&stage).await.state, CommandState::Failed, "{at:?}");
            assert!(matches!(session.expect("a session").next().await, Piece::End { .. }));
            let late = open_command(ctx, &stage.actor, &stage.app, &stage.environment, &wanted).await;
            assert_eq!(late.err().map(|error| error.kind), Some(Kind::Unavailable));
            assert_eq!(server.engine.commands().await.expect("commands"), []);
            server.clock.advance(1);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_being_made_when_its_caller_leaves_is_ended() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        for at in MOMENTS {
            let server = stage.server.beside(store.clone());
            server.engine.stall(Op::Run, at);
            let (wanted, mut keeper) = (wanted(), server.keeper());
            tokio::select! {
                _ = open_command(&server.ctx, &stage.actor, &stage.app, &stage.environment, &wanted) => panic!("made"),
                () = server.engine.stalled(Op::Run, at, 1) => {}
            }
            keeper.look().await.expect("a look");
            keeper.settle().await;
            assert_eq!(
                newest(&stage).await.state,
                CommandState::Running,
                "{at:?}: nobody knows yet what becomes of it"
            );
            server.engine.go_on(Op::Run, at);
            while newest(&stage).await.state == CommandState::Running {
                keeper.look().await.expect("a look");
                keeper.settle().await;
            }
            assert_eq!(server.engine.commands().await.expect("commands"), [], "{at:?}");
            server.clock.advance(1);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_being_made_to_run_by_itself_runs_on_and_is_found_again() {
    for_each_database(|store| async move {
        let stage = Stage::on(&store).await;
        for at in MOMENTS {
            let server = stage.server.beside(store.clone());
            server.engine.stall(Op::Run, at);
            let (ctx, wanted) = (&server.ctx, wanted());
            let command =
                run_detached(ctx, &stage.actor, &stage.app, &stage.environment, &wanted).await.expect("queued");
            stopped_in_the_making(&server, at).await;
            assert_eq!(server.engine.running_commands(), std::slice::from_ref(&command.id), "{at:?}");
            assert_eq!(newest(&stage).await.state, CommandState::Running, "{at:?}");
            let mut next = server.keeper();
            next.look().await.expect("a look");
            server.engine.finish_command(&command.id, 0, &["done"]);
            next.settle().await;
            assert_eq!(newest(&stage).await.state, CommandState::Succeeded, "{at:?}");
            assert_eq!(server.output(&command.id).await, ["done"]);
            assert_eq!(server.engine.commands().await.expect("commands"), []);
            server.clock.advance(1);
        }
    })
    .await;
}
