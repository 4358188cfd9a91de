//! Panics within expressions. They are bugs, of ours or of a library, and must cost the rows that they happen on only, as
//! what an expression refuses does.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use datafusion::common::exec_datafusion_err;
use datafusion::error::{DataFusionError, Result};

/// How the messages of panics begin.
pub(super) const PANIC: &str = "internal error";

thread_local! {
    /// Whether panics of this thread are not told on standard error.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Evaluates something; a panic is an error.
pub(super) fn guarded<T>(evaluate: impl FnOnce() -> Result<T>) -> Result<T> {
    // Expressions are pure: one that panicked has left nothing half done.
    catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|panic| Err(error_of(panic.as_ref())))
}

/// The same for what was tried before: to find the row, a panic happens many times over, and it was told once.
pub(super) fn guarded_again<T>(evaluate: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                told(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = guarded(evaluate);
    IS_QUIET.set(false);
    result
}

fn error_of(panic: &(dyn Any + Send)) -> DataFusionError {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    exec_datafusion_err!("{PANIC}: {}", said.unwrap_or("a panic"))
}
