"""From a source to a checkpoint folder of ours: checked from headers, then streamed.

:func:`~avikam.model.imports.plan.plan_import` refuses whatever cannot be served before memory is
taken; :func:`~avikam.model.imports.write.write_import` copies tensor by tensor.
"""
