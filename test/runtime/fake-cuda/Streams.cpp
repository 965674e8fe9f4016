// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Streams, events and graphs.
#include "test/runtime/fake-cuda/Driver.h"

using namespace v4::fake;

// ---- Streams

V4_DRIVER cuStreamCreate(void **stream, unsigned flags) {
  return drive(__func__, InContext | Unsafe, {}, [&] {
    if (flags > 1)
      return invalidValue;
    *stream = create<Stream>();
    return success;
  });
}

V4_DRIVER cuStreamDestroy_v2(void *handle) {
  return drive<Stream>(__func__, InContext | Releases, {handle}, [&](Stream &stream) {
    drain(stream); // the driver lets it finish
    return destroy(stream);
  });
}

V4_DRIVER cuStreamSynchronize(void *handle) {
  return drive<Stream>(__func__, InContext, {handle}, [&](Stream &stream) {
    if (stream.capture != Stream::None) {
      complain("cuStreamSynchronize of a stream that is captured");
      stream.capture = Stream::Invalid;
      return captureUnsupported;
    }
    return drain(stream);
  });
}

V4_DRIVER cuStreamBeginCapture_v2(void *handle, int mode) {
  return drive<Stream>(__func__, InContext, {handle}, [&](Stream &stream) {
    if (mode < 0 || mode > 2)
      return invalidValue;
    if (stream.capture != Stream::None) {
      complain("cuStreamBeginCapture_v2 of a stream that is captured");
      return illegalState;
    }
    stream.capture = Stream::Active;
    stream.captured.clear();
    return success;
  });
}

V4_DRIVER cuStreamEndCapture(void *handle, void **graph) {
  *graph = nullptr;
  Graph *made = nullptr;
  int result = drive<Stream>(__func__, InContext | Releases, {handle}, [&](Stream &stream) {
    auto capture = stream.capture;
    stream.capture = Stream::None;
    if (capture == Stream::None) {
      complain("cuStreamEndCapture of a stream that is not captured");
      return illegalState;
    }
    if (capture == Stream::Invalid)
      return captureInvalidated;
    made = create<Graph>();
    made->work = std::move(stream.captured);
    stream.captured.clear();
    return success;
  });
  if (result == success) {
    *graph = made;
  } else if (made) { // the call was to fail
    std::lock_guard<std::mutex> guard(driverLock());
    destroy(*made);
  }
  return result;
}

// ---- Graphs

V4_DRIVER cuGraphInstantiateWithFlags(void **executable, void *handle, unsigned long long) {
  return drive<Graph>(__func__, InContext | Unsafe, {handle}, [&](Graph &graph) {
    auto *made = create<GraphExec>();
    made->work = graph.work;
    *executable = made;
    return success;
  });
}

V4_DRIVER cuGraphLaunch(void *handle, void *streamHandle) {
  return drive<GraphExec, Stream>(__func__, InContext, {handle, streamHandle}, [&](GraphExec &graph, Stream &stream) {
    ++state().counters.graph_launches;
    for (const Work &work : graph.work)
      if (int code = enqueue(stream, work))
        return code;
    return success;
  });
}

V4_DRIVER cuGraphDestroy(void *handle) {
  return drive<Graph>(__func__, Driver | Releases, {handle}, [](Graph &graph) { return destroy(graph); });
}

V4_DRIVER cuGraphExecDestroy(void *handle) {
  return drive<GraphExec>(__func__, Driver | Releases, {handle}, [](GraphExec &graph) { return destroy(graph); });
}

// ---- Events

static int record(Event &event, Stream &stream, bool external) {
  if (stream.capture == Stream::Active && !external) {
    event.captured = true;
    return success;
  }
  return enqueue(stream, {nullptr, shared(event)});
}

V4_DRIVER cuEventCreate(void **event, unsigned flags) {
  return drive(__func__, InContext, {}, [&] {
    if (flags > 3)
      return invalidValue;
    auto *made = create<Event>();
    made->timing = !(flags & 2);
    *event = made;
    return success;
  });
}

V4_DRIVER cuEventDestroy_v2(void *handle) {
  return drive<Event>(__func__, InContext | Releases, {handle}, [](Event &event) { return destroy(event); });
}

V4_DRIVER cuEventRecord(void *handle, void *streamHandle) {
  return drive<Event, Stream>(__func__, InContext, {handle, streamHandle},
                              [](Event &event, Stream &stream) { return record(event, stream, false); });
}

V4_DRIVER cuEventRecordWithFlags(void *handle, void *streamHandle, unsigned flags) {
  return drive<Event, Stream>(__func__, InContext, {handle, streamHandle},
                              [&](Event &event, Stream &stream) { return record(event, stream, flags & 1); });
}

V4_DRIVER cuEventSynchronize(void *handle) {
  return drive<Event>(__func__, InContext, {handle}, [](Event &event) {
    if (event.captured) {
      complain("cuEventSynchronize of an event that was captured");
      return capturedEvent;
    }
    int result = success;
    while (event.pending && !event.stream->pending.empty())
      if (int code = advance(*event.stream))
        result = result ? result : code;
    return result;
  });
}

V4_DRIVER cuEventElapsedTime(float *milliseconds, void *beginHandle, void *endHandle) {
  return drive<Event, Event>(__func__, InContext, {beginHandle, endHandle}, [&](Event &begin, Event &end) {
    for (const Event *event : {&begin, &end})
      if (event->captured || !event->timing || !event->recorded) {
        complain("cuEventElapsedTime: an event has no time");
        return invalidHandle;
      }
    if (begin.pending || end.pending)
      return notReady;
    *milliseconds = static_cast<float>(static_cast<double>(end.time) - static_cast<double>(begin.time)) * 1e-6f;
    return success;
  });
}
