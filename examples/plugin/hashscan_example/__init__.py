"""Declare the plug-in `example`: a row of each kind. Nothing but `hashscan.plugins` is imported here."""

from hashscan.plugins import Algorithm, Plugin, Row

BLOCKMEAN = Algorithm("blockmean", 64, "hamming", of_picture=True, threshold=3, review_only=True)

PLUGIN = Plugin(
    algorithms=(BLOCKMEAN,),
    rows={
        "picture hash": (
            Row("blockmean", "hashscan_example.algorithm:BlockMean", "64 bits by block means: review only"),
        ),
        "list format": (
            Row("semicolons", "hashscan_example.list_format:SemicolonFormat", "algorithm;value;category"),
        ),
        "list writer": (
            Row("semicolons", "hashscan_example.list_format:SemicolonWriter", "algorithm;value;category"),
        ),
        "report format": (
            Row("paths", "hashscan_example.report_format:Paths", "the path of each finding, a line each"),
        ),
        "exchange": (
            Row("example-exchange", "hashscan_example.exchange:ExampleExchange", "an exchange to copy from"),
        ),
        "matching service": (
            Row("example-check", "hashscan_example.adapter:ExampleHashCheck", "an adapter to copy from"),
        ),
        "source": (
            Row("example", "hashscan_example.source:ExampleSource", "files and folders, by another scheme"),
        ),
    },
)
