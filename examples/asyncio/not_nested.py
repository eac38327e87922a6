"""Spans that do not nest: a task has the context of the place where it was created, and these workers are created
before there is a request. Each "resize" is a trace of its own.
"""
import asyncio

from opentelemetry import trace

tracer = trace.get_tracer(__name__)


async def worker(queue):
    while True:
        name, done = await queue.get()
        with tracer.start_as_current_span("resize") as span:
            span.set_attribute("image", name)
            await asyncio.sleep(0.01)
        done.set_result(None)


async def request(queue, number):
    with tracer.start_as_current_span("request") as span:
        span.set_attribute("number", number)
        jobs = [asyncio.get_running_loop().create_future() for _ in range(3)]
        for i, done in enumerate(jobs):
            await queue.put((f"{number}-{i}.png", done))
        await asyncio.gather(*jobs)


async def main():
    queue = asyncio.Queue()
    workers = [asyncio.create_task(worker(queue)) for _ in range(2)]
    await asyncio.gather(*(request(queue, number) for number in range(4)))
    for task in workers:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
