//! A streamed text as lines.

use std::io::Result;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

/// A longer line is cut into several.
const LONGEST_LINE: usize = 1 << 20;

/// Each line as soon as it is whole; what is no UTF-8 is replaced. The last one needs no end.
pub(super) fn of(body: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<String>> {
    stream::unfold((body, BytesMut::new(), false), |(mut body, mut buffer, mut ended)| async move {
        loop {
            if let Some(at) = buffer.iter().position(|b| *b == b'\n') {
                let line = buffer.split_to(at + 1);
                return Some((Ok(text(&line[..at])), (body, buffer, ended)));
            }
            if ended || buffer.len() > LONGEST_LINE {
                let rest = buffer.split();
                return (!rest.is_empty()).then(|| (Ok(text(&rest)), (body, buffer, ended)));
            }
            match body.next().await {
                Some(Ok(part)) => buffer.extend_from_slice(&part),
                Some(Err(error)) => return Some((Err(error), (stream::empty().boxed(), BytesMut::new(), true))),
                None => ended = true,
            }
        }
    })
    .boxed()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_do_not_care_how_the_bytes_arrive() {
        let parts = ["a", "b\nc\n", "\nü".split_at(1).0, "d"].map(|p| Ok(Bytes::from(p.to_owned())));
        let lines: Vec<_> = of(stream::iter(parts).boxed()).map(|l| l.expect("no error")).collect().await;
        assert_eq!(lines, ["ab", "c", "", "d"]);
    }
}
