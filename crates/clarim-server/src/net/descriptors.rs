//! Open descriptors on their way to another process.
//!
//! A descriptor in a message of a Unix socket stays open until it is received, even if its sender has ended.
//! So nothing has to be done to the descriptors of the sender, and nothing has been given up if the other
//! process is never started. A message of the kernel has room for few descriptors and a socket for few
//! messages, so they are in several sockets (carriers), which are descriptors in the messages of a first one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Maximum number of descriptors in one message that this release sends. They are open twice until then, also
/// in a server that has hardly any descriptors left.
const PER_MESSAGE: usize = 32;

/// Maximum number in one message of the kernel (`SCM_MAX_FD`).
const MAX_PER_MESSAGE: usize = 253;

/// Number of messages in one carrier. The buffer of a socket holds about 270.
const PER_CARRIER: usize = 128;

/// Collects descriptors for another process, or for a thread with a descriptor table of its own.
#[derive(Debug, Default)]
pub(crate) struct DescriptorSender {
    /// Receiving ends.
    carriers: Vec<OwnedFd>,
    current: Option<Carrier>,
    waiting: Vec<OwnedFd>,
    /// The number of the next descriptor.
    next: u32,
}

/// The carrier that is being filled.
#[derive(Debug)]
struct Carrier {
    sender: OwnedFd,
    messages: usize,
}

impl DescriptorSender {
    /// Collects descriptors that get the numbers from `next` on.
    pub(crate) fn starting_at(next: u32) -> Self {
        Self { next, ..Self::default() }
    }

    /// Adds a descriptor. Returns its number.
    pub(crate) fn add(&mut self, descriptor: OwnedFd) -> io::Result<u32> {
        self.waiting.push(descriptor);
        if self.waiting.len() == PER_MESSAGE {
            self.send()?;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if self.current.as_ref().is_none_or(|carrier| carrier.messages == PER_CARRIER) {
            let Pair { sender, receiver } = pair()?;
            self.carriers.push(receiver);
            self.current = Some(Carrier { sender, messages: 0 });
        }
        if let Some(carrier) = &mut self.current {
            send(carrier.sender.as_fd(), &self.waiting)?;
            carrier.messages += 1;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Returns the carriers, and the number after that of the last descriptor.
    pub(crate) fn finish(mut self) -> io::Result<SentDescriptors> {
        self.send()?;
        Ok(SentDescriptors { carriers: self.carriers, next: self.next })
    }
}

/// Descriptors that were sent, and are not received yet.
#[derive(Debug, Default)]
pub(crate) struct SentDescriptors {
    carriers: Vec<OwnedFd>,
    /// The number of the next descriptor.
    pub(crate) next: u32,
}

impl SentDescriptors {
    /// Adds those of a sender that [started](DescriptorSender::starting_at) at the `next` number.
    pub(crate) fn append(&mut self, more: Self) {
        self.carriers.extend(more.carriers);
        self.next = more.next;
    }

    /// Returns the socket from which another process receives all descriptors, after those in `first`.
    pub(crate) fn for_process(self, first: &[OwnedFd]) -> io::Result<OwnedFd> {
        let Pair { sender, receiver } = pair()?;
        send(sender.as_fd(), first)?;
        for carriers in self.carriers.chunks(MAX_PER_MESSAGE) {
            send(sender.as_fd(), carriers)?;
        }
        Ok(receiver)
    }
}

/// Returns both ends of a way for sent descriptors from a thread to another. It must be made before the
/// threads have separate descriptor tables.
pub(crate) fn passage() -> io::Result<Passage> {
    let (entrance, exit) = UnixStream::pair()?;
    exit.set_nonblocking(true)?;
    Ok(Passage { entrance: PassageEntrance(entrance), exit: PassageExit(exit) })
}

/// See [`passage`].
#[derive(Debug)]
pub(crate) struct Passage {
    pub(crate) entrance: PassageEntrance,
    pub(crate) exit: PassageExit,
}

/// The end of a [`passage`] in the thread that has sent descriptors.
#[derive(Debug)]
pub(crate) struct PassageEntrance(UnixStream);

/// The other end of a [`passage`].
#[derive(Debug)]
pub(crate) struct PassageExit(UnixStream);

/// Sent descriptors that are in a [`passage`].
#[derive(Debug)]
pub(crate) struct InPassage {
    carriers: usize,
    next: u32,
}

impl PassageEntrance {
    pub(crate) fn put(&self, sent: &SentDescriptors) -> io::Result<InPassage> {
        if !sent.carriers.is_empty() {
            send(self.0.as_fd(), &sent.carriers)?;
        }
        Ok(InPassage { carriers: sent.carriers.len(), next: sent.next })
    }
}

impl PassageExit {
    /// Removes what nobody has taken.
    pub(crate) fn clear(&self) {
        while receive_one(self.0.as_fd()).is_ok_and(|carriers| !carriers.is_empty()) {}
    }

    pub(crate) fn take(&self, sent: &InPassage) -> io::Result<SentDescriptors> {
        let &InPassage { carriers, next } = sent;
        let carriers = if carriers == 0 { Vec::new() } else { receive_one(self.0.as_fd())? };
        Ok(SentDescriptors { carriers, next })
    }
}

/// Descriptors that were sent, by their numbers. They are received when they are taken.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    carriers: VecDeque<OwnedFd>,
    received: Vec<Option<OwnedFd>>,
}

impl Descriptors {
    /// Takes a descriptor.
    ///
    /// # Errors
    /// If it was taken before or not sent, or cannot be received.
    pub(crate) fn take(&mut self, number: u32) -> io::Result<OwnedFd> {
        let number = number as usize;
        while self.received.len() <= number {
            let Some(carrier) = self.carriers.front() else { break };
            let more = receive_one(carrier.as_fd())?;
            if more.is_empty() {
                self.carriers.pop_front();
            }
            self.received.extend(more.into_iter().map(Some));
        }
        let descriptor = self.received.get_mut(number).and_then(Option::take);
        descriptor.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Descriptors for a thread that has not started.
#[derive(Debug, Default)]
pub(crate) struct ForThread {
    #[cfg(not(feature = "descriptor-tables"))]
    descriptors: Descriptors,
    /// This thread may not have as many descriptors as all others together.
    #[cfg(feature = "descriptor-tables")]
    sender: DescriptorSender,
}

impl ForThread {
    /// Adds a descriptor. Returns its number.
    #[cfg(not(feature = "descriptor-tables"))]
    pub(crate) fn add(&mut self, descriptor: OwnedFd) -> io::Result<u32> {
        self.descriptors.received.push(Some(descriptor));
        Ok((self.descriptors.received.len() - 1) as u32)
    }

    /// Adds a descriptor. Returns its number.
    #[cfg(feature = "descriptor-tables")]
    pub(crate) fn add(&mut self, descriptor: OwnedFd) -> io::Result<u32> {
        self.sender.add(descriptor)
    }

    /// Returns the descriptors, which the thread takes.
    #[cfg(not(feature = "descriptor-tables"))]
    pub(crate) fn finish(self) -> io::Result<Descriptors> {
        Ok(self.descriptors)
    }

    /// Returns the descriptors, which the thread takes. It has the carriers, too: its table begins as a copy.
    #[cfg(feature = "descriptor-tables")]
    pub(crate) fn finish(self) -> io::Result<Descriptors> {
        let carriers = self.sender.finish()?.carriers.into();
        Ok(Descriptors { carriers, received: Vec::new() })
    }
}

/// Descriptors that another process has sent.
#[derive(Debug)]
pub(crate) struct ReceivedDescriptors {
    /// Those that were given to [`SentDescriptors::for_process`].
    pub(crate) first: Vec<OwnedFd>,
    pub(crate) others: Descriptors,
}

/// Receives what another process has sent.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<ReceivedDescriptors> {
    let first = receive_one(socket)?;
    let mut others = Descriptors::default();
    loop {
        let carriers = receive_one(socket)?;
        if carriers.is_empty() {
            return Ok(ReceivedDescriptors { first, others });
        }
        others.carriers.extend(carriers);
    }
}

/// Both ends of a socket.
struct Pair {
    sender: OwnedFd,
    receiver: OwnedFd,
}

#[cfg(target_os = "linux")]
fn pair() -> io::Result<Pair> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC;
    let (sender, receiver) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(Pair { sender, receiver })
}

#[cfg(target_os = "linux")]
fn send(socket: BorrowedFd<'_>, descriptors: &[OwnedFd]) -> io::Result<()> {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A message without data has no descriptors either.
    let data = [IoSlice::new(&[0])];
    sendmsg(socket, &data, &mut control, SendFlags::DONTWAIT)?;
    Ok(())
}

/// Receives one message. Without any descriptor at the end.
#[cfg(target_os = "linux")]
fn receive_one(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    use std::io::IoSliceMut;
    use std::mem::MaybeUninit;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    Ok(received)
}

#[cfg(not(target_os = "linux"))]
fn pair() -> io::Result<Pair> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn send(_: BorrowedFd<'_>, _: &[OwnedFd]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn receive_one(_: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn descriptors_arrive_in_their_order() {
        let mut sender = DescriptorSender::default();
        let files = [0, 1, 2].map(|n| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[n]).unwrap();
            OwnedFd::from(file)
        });
        let file = |n: usize| files[n % 3].try_clone().unwrap();
        // More than one carrier.
        let in_first = PER_MESSAGE * PER_CARRIER + 7;
        for n in 0..in_first {
            assert_eq!(sender.add(file(n)).unwrap(), n as u32);
        }
        let mut sent = SentDescriptors::default();
        sent.append(sender.finish().unwrap());
        // The next ones come from another thread.
        let mut sender = DescriptorSender::starting_at(sent.next);
        for n in in_first..in_first + 100 {
            assert_eq!(sender.add(file(n)).unwrap(), n as u32);
        }
        let Passage { entrance, exit } = passage().unwrap();
        let forgotten = DescriptorSender::starting_at(7).finish().unwrap();
        entrance.put(&forgotten).unwrap();
        entrance.put(&sent_one(file(0)).unwrap()).unwrap();
        exit.clear();
        let passed = entrance.put(&sender.finish().unwrap()).unwrap();
        sent.append(exit.take(&passed).unwrap());

        let socket = sent.for_process(&[file(2)]).unwrap();
        drop(files);
        let ReceivedDescriptors { first, mut others } = receive(socket.as_fd()).unwrap();
        let first: Vec<u8> = first.into_iter().map(|it| content(it).unwrap()).collect();
        assert_eq!(first, [2]);
        for n in 0..in_first + 100 {
            // Not all are taken.
            if n % 10 != 3 {
                let content = content(others.take(n as u32).unwrap()).unwrap();
                assert_eq!(usize::from(content), n % 3);
            }
        }
        assert!(others.take(0).is_err(), "taken twice");
        assert!(others.take(in_first as u32 + 100).is_err(), "never sent");
    }

    #[test]
    fn a_thread_takes_its_descriptors() {
        let mut descriptors = ForThread::default();
        for n in 0..100 {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[n]).unwrap();
            assert_eq!(descriptors.add(file.into()).unwrap(), u32::from(n));
        }
        let mut descriptors = descriptors.finish().unwrap();
        let mut take = |n| content(descriptors.take(n).unwrap()).unwrap();
        assert_eq!([70, 7, 99].map(&mut take), [70, 7, 99]);
    }

    fn sent_one(descriptor: OwnedFd) -> io::Result<SentDescriptors> {
        let mut sender = DescriptorSender::default();
        sender.add(descriptor)?;
        sender.finish()
    }

    fn content(descriptor: OwnedFd) -> io::Result<u8> {
        let mut file = File::from(descriptor);
        let mut byte = [0];
        file.rewind()?;
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}
